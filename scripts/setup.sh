# Sourced by quickstart and check: installs the packages that package-lock.json names into node_modules.
# install_packages prod|dev. Does nothing when the lock file has not changed since the last time.
install_packages() {
  kind=$1
  stamp="$root/node_modules/.microbosh-$kind"
  want=$(cksum "$root/package-lock.json" | cut -d' ' -f1,2)
  [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ] && return 0
  # What check has installed holds everything that quickstart needs.
  [ "$kind" = prod ] && [ "$(cat "$root/node_modules/.microbosh-dev" 2>/dev/null || true)" = "$want" ] && return 0
  omit=''
  [ "$kind" = prod ] && omit='--omit=dev'
  echo "Installing packages ($kind) ..."
  # shellcheck disable=SC2086
  (cd "$root" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error $omit)
  printf '%s\n' "$want" > "$stamp"
}

# missing_commands COMMAND:PACKAGE...: prints the packages of the commands that are not there, one per line.
missing_commands() {
  for pair in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s\n' "${pair##*:}"
  done | sort -u
}

# apt_install PACKAGE...: quiet, bounded, without questions.
apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" >/dev/null
}
