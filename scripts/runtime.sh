# Sourced by the commands in bin/, by quickstart and by check: sets MICROBOSH_NODE, the runtime that package-lock.json
# pins. $root is the top of the checkout. The compile cache lets TypeScript modules load without being stripped again.
case "$(uname -sm)" in
  'Linux x86_64') microbosh_platform=linux-x64 ;;
  'Linux aarch64') microbosh_platform=linux-arm64 ;;
  *) echo "microbosh: no pinned runtime for $(uname -sm); supported: Linux on x86_64 and aarch64" >&2; exit 1 ;;
esac
MICROBOSH_NODE="$root/node_modules/node-$microbosh_platform/bin/node"
NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/node_modules/.cache/microbosh-compile}"
export NODE_COMPILE_CACHE
