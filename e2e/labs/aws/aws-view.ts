import {
  AllocateAddressCommand,
  CreateKeyPairCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeAddressesCommand,
  DescribeImagesCommand,
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSnapshotsCommand,
  DescribeSubnetsCommand,
  DescribeVolumesCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import { request } from 'undici';

/** What the lab puts into the cloud before the CPI comes. */
export interface AwsPlace {
  readonly subnetId: string;
  readonly zone: string;
  readonly keyName: string;
  readonly securityGroup: string;
  /** An address of the subnet that nothing has. */
  readonly freeIp: string;
  readonly elasticIp: string;
  /** An image that a light stemcell can name. */
  readonly amiId: string;
}

/** The cloud as its own API shows it, past the CPI. */
export class AwsView {
  readonly #ec2: EC2Client;
  readonly #endpoint: string;

  constructor(endpoint: string) {
    this.#endpoint = endpoint;
    this.#ec2 = new EC2Client({
      endpoint,
      region: 'us-east-1',
      credentials: { accessKeyId: 'lab', secretAccessKey: 'lab-secret' },
    });
  }

  async seed(): Promise<AwsPlace> {
    const { Subnets = [] } = await this.#ec2.send(new DescribeSubnetsCommand({}));
    const subnet = Subnets.find(({ AvailabilityZone }) => AvailabilityZone === 'us-east-1a');
    await this.#ec2.send(new CreateKeyPairCommand({ KeyName: 'lab' }));
    await this.#ec2.send(
      new CreateSecurityGroupCommand({ GroupName: 'lab', Description: 'lab', VpcId: subnet?.VpcId }),
    );
    const { PublicIp } = await this.#ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
    const { Images = [] } = await this.#ec2.send(new DescribeImagesCommand({}));
    const ami = Images.find(
      ({ Architecture, VirtualizationType }) => Architecture === 'x86_64' && VirtualizationType === 'hvm',
    );
    return {
      subnetId: subnet?.SubnetId ?? '',
      zone: subnet?.AvailabilityZone ?? '',
      keyName: 'lab',
      securityGroup: 'lab',
      freeIp: (subnet?.CidrBlock ?? '').replace(/\d+\/\d+$/, '77'),
      elasticIp: PublicIp ?? '',
      amiId: ami?.ImageId ?? '',
    };
  }

  /** A network with these addresses, for machines that have them: the subnet and its security group. */
  async seedSubnet(range: string): Promise<{ readonly subnetId: string; readonly securityGroup: string }> {
    const { Vpc } = await this.#ec2.send(new CreateVpcCommand({ CidrBlock: range }));
    const place = { VpcId: Vpc?.VpcId, CidrBlock: range, AvailabilityZone: 'us-east-1a' };
    const { Subnet } = await this.#ec2.send(new CreateSubnetCommand(place));
    const securityGroup = 'lab-deploy';
    const group = { GroupName: securityGroup, Description: 'lab', VpcId: Vpc?.VpcId };
    await this.#ec2.send(new CreateSecurityGroupCommand(group));
    return { subnetId: Subnet?.SubnetId ?? '', securityGroup };
  }

  /**
   * Everything that a CPI makes, as `kind id`; tombstones are not there. Nor is what moto makes or leaves by itself: volumes
   * for snapshots (the CPI names the type of its own), snapshots for images, addresses of instances that have ended.
   */
  async everything(): Promise<readonly string[]> {
    const ec2 = this.#ec2;
    const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({}));
    const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({}));
    const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }));
    const { Images = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ['self'] }));
    const { NetworkInterfaces = [] } = await ec2.send(new DescribeNetworkInterfacesCommand({}));
    const { Addresses = [] } = await ec2.send(new DescribeAddressesCommand({}));
    const nics = new Set(NetworkInterfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId));
    return [
      ...Reservations.flatMap(({ Instances = [] }) => Instances)
        .filter(({ State }) => State?.Name !== 'terminated')
        .map(({ InstanceId, State }) => `instance ${InstanceId} ${State?.Name}`),
      ...Volumes.filter(({ VolumeType }) => VolumeType === 'gp3').map(({ VolumeId }) => `volume ${VolumeId}`),
      ...Snapshots.filter(({ Description }) => !/^Auto-created|^Created by/.test(Description ?? '')).map(
        ({ SnapshotId }) => `snapshot ${SnapshotId}`,
      ),
      ...Images.filter(({ State }) => State !== 'deregistered').map(({ ImageId }) => `image ${ImageId}`),
      ...NetworkInterfaces.map(({ NetworkInterfaceId }) => `interface ${NetworkInterfaceId}`),
      ...Addresses.filter(({ NetworkInterfaceId }) => nics.has(NetworkInterfaceId ?? '')).map(
        ({ PublicIp }) => `association of ${PublicIp}`,
      ),
    ];
  }

  async userData(instanceId: string): Promise<Buffer> {
    const { UserData } = await this.#ec2.send(
      new DescribeInstanceAttributeCommand({ InstanceId: instanceId, Attribute: 'userData' }),
    );
    return Buffer.from(UserData?.Value ?? '', 'base64');
  }

  async image(id: string) {
    return (await this.#ec2.send(new DescribeImagesCommand({ ImageIds: [id] }))).Images?.[0];
  }

  async volume(id: string) {
    return (await this.#ec2.send(new DescribeVolumesCommand({ VolumeIds: [id] }))).Volumes?.[0];
  }

  async volumesOf(instanceId: string) {
    const filter = { Name: 'attachment.instance-id', Values: [instanceId] };
    return (await this.#ec2.send(new DescribeVolumesCommand({ Filters: [filter] }))).Volumes ?? [];
  }

  async createInstanceProfile(name: string): Promise<void> {
    await this.#form('iam', {
      Action: 'CreateInstanceProfile',
      InstanceProfileName: name,
      Version: '2010-05-08',
    });
  }

  /** Answers what tells the instances of the group. */
  async createTargetGroup(name: string): Promise<() => Promise<readonly string[]>> {
    const version = '2015-12-01';
    const { Subnets = [] } = await this.#ec2.send(new DescribeSubnetsCommand({}));
    const made = await this.#form('elasticloadbalancing', {
      ...{ Action: 'CreateTargetGroup', Version: version, Name: name, Protocol: 'HTTP', Port: '80' },
      ...{ VpcId: Subnets[0]?.VpcId ?? '' },
    });
    const arn = /<TargetGroupArn>([^<]+)</.exec(made)?.[1] ?? '';
    return async () => {
      const health = await this.#form('elasticloadbalancing', {
        ...{ Action: 'DescribeTargetHealth', Version: version, TargetGroupArn: arn },
      });
      return [...health.matchAll(/<Id>([^<]+)</g)].map(([, id = '']) => id);
    };
  }

  /** A call of a service that this project has no client of; moto looks at the scope of the signature only. */
  async #form(service: string, fields: Readonly<Record<string, string>>): Promise<string> {
    const answer = await request(this.#endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `AWS4-HMAC-SHA256 Credential=lab/20260101/us-east-1/${service}/aws4_request, SignedHeaders=host, Signature=0`,
      },
      body: new URLSearchParams(fields).toString(),
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`${fields['Action']}: ${answer.statusCode} ${text}`);
    return text;
  }

  async instance(instanceId: string) {
    const { Reservations = [] } = await this.#ec2.send(
      new DescribeInstancesCommand({ InstanceIds: [instanceId] }),
    );
    return Reservations[0]?.Instances?.[0];
  }
}
