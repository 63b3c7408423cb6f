/** One CPI, and each set of the rest; credhub needs uaa. */
export function combinations() {
  const optional = ['jumpbox-user', 'uaa', 'credhub', 'external-ip', 'dns-and-ntp', 'health-off'];
  const sets = Array.from({ length: 2 ** optional.length }, (_, bits) =>
    optional.filter((_name, at) => (bits >> at) % 2 === 1),
  ).filter((set) => !set.includes('credhub') || set.includes('uaa'));
  return ['cpi-openstack', 'cpi-local'].flatMap((cpi) => sets.map((set) => [cpi, ...set]));
}
