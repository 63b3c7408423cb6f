import { Type, type Static } from 'typebox';

/** The fields of OpenStack's answers that this CPI reads. Sources: the API references of the services. */
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

export const tokenSchema = Type.Object({
  token: Type.Object({
    expires_at: Type.String(),
    catalog: Type.Array(
      Type.Object({
        type: Type.String(),
        endpoints: Type.Array(
          Type.Object({
            interface: Type.String(),
            url: Type.String(),
            region: Type.Optional(nullable(Type.String())),
            region_id: Type.Optional(nullable(Type.String())),
          }),
        ),
      }),
    ),
  }),
});
export type CatalogEntry = Static<typeof tokenSchema>['token']['catalog'][number];

const addressSchema = Type.Object({ addr: Type.String() });

export const serverSchema = Type.Object({
  id: Type.String(),
  name: Type.Optional(Type.String()),
  status: Type.Optional(Type.String()),
  metadata: Type.Optional(Type.Record(Type.String(), Type.String())),
  addresses: Type.Optional(Type.Record(Type.String(), Type.Array(addressSchema))),
  flavor: Type.Optional(Type.Object({ id: Type.Optional(Type.String()) })),
  fault: Type.Optional(
    Type.Object({ message: Type.Optional(Type.String()), details: Type.Optional(Type.String()) }),
  ),
  'OS-EXT-AZ:availability_zone': Type.Optional(nullable(Type.String())),
});
export type Server = Static<typeof serverSchema>;
export const serverAnswer = Type.Object({ server: serverSchema });
export const serversAnswer = Type.Object({ servers: Type.Array(serverSchema) });

export const flavorSchema = Type.Object({
  id: Type.String(),
  name: Type.String(),
  vcpus: Type.Number(),
  ram: Type.Number(),
  disk: Type.Number(),
  'OS-FLV-EXT-DATA:ephemeral': Type.Optional(Type.Number()),
  /** MiB, or an empty string for none. */
  swap: Type.Optional(Type.Union([Type.Number(), Type.String()])),
  'OS-FLV-DISABLED:disabled': Type.Optional(Type.Boolean()),
});
export type Flavor = Static<typeof flavorSchema>;
export const flavorsAnswer = Type.Object({ flavors: Type.Array(flavorSchema) });
export const flavorAnswer = Type.Object({ flavor: flavorSchema });

export const keypairsAnswer = Type.Object({
  keypairs: Type.Array(Type.Object({ keypair: Type.Object({ name: Type.String() }) })),
});

export const attachmentsAnswer = Type.Object({
  volumeAttachments: Type.Array(
    Type.Object({ volumeId: Type.String(), device: Type.Optional(nullable(Type.String())) }),
  ),
});

export const imageSchema = Type.Object({
  id: Type.String(),
  status: Type.String(),
  min_disk: Type.Optional(Type.Number()),
});
export type Image = Static<typeof imageSchema>;
export const imagesAnswer = Type.Object({ images: Type.Array(imageSchema) });

export const volumeSchema = Type.Object({
  id: Type.String(),
  name: Type.Optional(nullable(Type.String())),
  status: Type.String(),
  size: Type.Number(),
  availability_zone: Type.Optional(nullable(Type.String())),
  attachments: Type.Optional(
    Type.Array(Type.Object({ server_id: Type.String(), device: Type.Optional(nullable(Type.String())) })),
  ),
});
export type Volume = Static<typeof volumeSchema>;
export const volumeAnswer = Type.Object({ volume: volumeSchema });
export const volumesAnswer = Type.Object({ volumes: Type.Array(volumeSchema) });

export const snapshotSchema = Type.Object({
  id: Type.String(),
  name: Type.Optional(nullable(Type.String())),
  status: Type.String(),
});
export const snapshotsAnswer = Type.Object({ snapshots: Type.Array(snapshotSchema) });
export const snapshotAnswer = Type.Object({ snapshot: snapshotSchema });

export const portSchema = Type.Object({
  id: Type.String(),
  name: Type.Optional(Type.String()),
  mac_address: Type.String(),
  status: Type.Optional(Type.String()),
  device_id: Type.Optional(nullable(Type.String())),
  device_owner: Type.Optional(nullable(Type.String())),
  network_id: Type.String(),
});
export type Port = Static<typeof portSchema>;
export const portAnswer = Type.Object({ port: portSchema });
export const portsAnswer = Type.Object({ ports: Type.Array(portSchema) });

export const securityGroupsAnswer = Type.Object({
  security_groups: Type.Array(Type.Object({ id: Type.String(), name: Type.String() })),
});
export const subnetsAnswer = Type.Object({
  subnets: Type.Array(Type.Object({ id: Type.String(), cidr: Type.String(), network_id: Type.String() })),
});
export const networkAnswer = Type.Object({ network: Type.Object({ id: Type.String() }) });
export const floatingIpsAnswer = Type.Object({
  floatingips: Type.Array(
    Type.Object({
      id: Type.String(),
      floating_ip_address: Type.String(),
      port_id: Type.Optional(nullable(Type.String())),
    }),
  ),
});

export const consoleAnswer = Type.Object({ output: Type.String() });
export const zonesAnswer = Type.Object({
  availabilityZoneInfo: Type.Array(
    Type.Object({ zoneName: Type.String(), zoneState: Type.Object({ available: Type.Boolean() }) }),
  ),
});
/** `limits.absolute` of Nova and of Cinder; -1 means without limit. */
export const limitsAnswer = Type.Object({
  limits: Type.Object({ absolute: Type.Record(Type.String(), Type.Unknown()) }),
});
