// What a new template does to a deployed stack, as plain data. It compares the
// two templates, so it needs no right but to read the deployed one.
//
// What CloudFormation replaces comes from its own resource specification, in
// the library that "cdk diff" is made of. Permissions and security group rules
// are compared here: that library knows a list of properties with policies, and
// takes equal rules of two groups for the same rule.
'use strict';

const { fullDiff } = require('@aws-cdk/cloudformation-diff');

const isObject = value => value !== null && typeof value === 'object' && !Array.isArray(value);

const asList = value => value === undefined ? [] : Array.isArray(value) ? value : [value];

const byText = key => (a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;

// plain returns a value with its intrinsic functions written as ${…}, the form
// that CloudFormation has for them inside of texts.
const plain = value => {
  if (Array.isArray(value)) return value.map(plain);
  if (!isObject(value)) return value;
  const [name, ...more] = Object.keys(value);
  if (more.length === 0) {
    const argument = value[name];
    if (name === 'Ref') return '${' + argument + '}';
    if (name === 'Fn::GetAtt') return '${' + asList(argument).join('.') + '}';
    if (name === 'Fn::Sub' && typeof argument === 'string') return argument;
    if (name === 'Fn::Join' && Array.isArray(argument) && Array.isArray(argument[1])) {
      const parts = argument[1].map(plain);
      if (parts.every(part => typeof part === 'string')) return parts.join(argument[0]);
    }
  }
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, plain(child)]));
};

// canonical is the same text for equal values, whatever the order of keys.
const canonical = value => JSON.stringify(value, (_, child) =>
  isObject(child) ? Object.fromEntries(Object.entries(child).sort(byText(([key]) => key))) : child);

// onlyIn returns the elements of one list that another has not, each as often
// as it is missing there.
const onlyIn = (one, other) => {
  const left = other.map(canonical);
  return one.filter(element => {
    const at = left.indexOf(canonical(element));
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
};

// label is where a resource stands in the code, or its logical id in a template
// that was not made by the CDK's command.
const label = (id, ...resources) => {
  const path = resources.map(r => r?.Metadata?.['aws:cdk:path']).find(p => typeof p === 'string');
  return path ? path.split('/').slice(1).join('/').replace(/\/(Resource|Default)$/, '') : id;
};

// Permissions.

const isPolicy = value => isObject(value) && 'Statement' in value;

const parsedPolicy = (name, value) => {
  if (name !== 'PolicyDocument' || typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
};

// policiesIn finds every policy document below a value, wherever a type of
// resource keeps it.
const policiesIn = (value, path = []) => {
  const document = parsedPolicy(path.at(-1), value);
  if (isPolicy(document)) return [{ path, document }];
  if (!isObject(document) && !Array.isArray(document)) return [];
  return Object.entries(document).flatMap(([key, child]) => policiesIn(child, [...path, key]));
};

const holders = properties => ['Roles', 'Users', 'Groups'].flatMap(kind => asList(plain(properties[kind])));

const names = value => isObject(value)
  ? Object.entries(value).flatMap(([kind, list]) => asList(list).map(name => kind === 'AWS' ? name : `${kind}: ${name}`))
  : asList(value);

const targets = (statement, name) => ({
  values: names(statement[`Not${name}`] ?? statement[name]),
  not: `Not${name}` in statement,
});

// permission is one statement as a row: who may do what to what.
const permission = (id, at, statement, who) => {
  const principals = targets(statement, 'Principal');
  return {
    id, at,
    sid: statement.Sid ?? '',
    effect: statement.Effect,
    actions: targets(statement, 'Action'),
    resources: targets(statement, 'Resource'),
    principals: principals.values.length ? principals : { values: who, not: false },
    condition: statement.Condition ?? {},
  };
};

// A function's permission becomes a statement of its resource policy.
// https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html
const invocation = properties => {
  const { Action, FunctionName, Principal, SourceArn, SourceAccount } = plain(properties);
  const condition = {};
  if (SourceArn !== undefined) condition.ArnLike = { 'aws:SourceArn': SourceArn };
  if (SourceAccount !== undefined) condition.StringEquals = { 'aws:SourceAccount': SourceAccount };
  return { Effect: 'Allow', Action, Resource: FunctionName, Principal, Condition: condition };
};

const permissionsOf = (id, resource) => {
  const properties = resource?.Properties ?? {};
  if (resource?.Type === 'AWS::Lambda::Permission') return [permission(id, '', invocation(properties), [])];
  const who = holders(properties);
  const statements = policiesIn(properties).flatMap(({ path, document }) =>
    asList(plain(document).Statement).map(statement => permission(id, path.join('.'), statement, who.length ? who : [`\${${id}}`])));
  const managed = asList(plain(properties.ManagedPolicyArns)).map(arn => permission(id, 'ManagedPolicyArns',
    { Effect: 'Allow', Action: `policy ${arn}` }, [`\${${id}}`]));
  return [...statements, ...managed];
};

// widens tells whether a row can let somebody do more than before: what is
// allowed now, or not forbidden any more.
const widens = ({ sign, effect }) => (effect === 'Allow') === (sign === '+');

// Security group rules.

const ports = ({ IpProtocol, FromPort, ToPort }) => {
  const protocol = String(IpProtocol);
  if (protocol === '-1') return 'everything';
  const range = FromPort === undefined || Number(FromPort) === -1 ? 'all' : Number(FromPort) === Number(ToPort) ? FromPort : `${FromPort}-${ToPort}`;
  return `${protocol} ${range}`;
};

const peer = rule => rule.CidrIp ?? rule.CidrIpv6 ?? rule.SourceSecurityGroupId ?? rule.DestinationSecurityGroupId ??
  rule.SourcePrefixListId ?? rule.DestinationPrefixListId ?? 'unknown';

const rule = (group, direction, properties) => {
  const found = plain(properties);
  return { group, direction, ports: ports(found), peer: String(peer(found)) };
};

// A group without rules of its own for the way out lets everything out.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-securitygroup.html
const everywhere = [{ IpProtocol: '-1', CidrIp: '0.0.0.0/0' }];

const rulesOf = (id, resource) => {
  const properties = resource?.Properties ?? {};
  switch (resource?.Type) {
    case 'AWS::EC2::SecurityGroup':
      return [
        ...asList(properties.SecurityGroupIngress).map(r => rule(`\${${id}.GroupId}`, 'in', r)),
        ...asList(properties.SecurityGroupEgress ?? everywhere).map(r => rule(`\${${id}.GroupId}`, 'out', r)),
      ];
    case 'AWS::EC2::SecurityGroupIngress':
      return [rule(plain(properties.GroupId), 'in', properties)];
    case 'AWS::EC2::SecurityGroupEgress':
      return [rule(plain(properties.GroupId), 'out', properties)];
  }
  return [];
};

// Single values.

const shownElsewhere = new Set(['SecurityGroupIngress', 'SecurityGroupEgress', 'ManagedPolicyArns']);

// A list of lines is a script.
const isScript = value => Array.isArray(value) && value.length > 3 && value.every(line => typeof line === 'string');

// changedValues lists what is different between two values, as far down as it
// can be told apart. Policies and rules are left out: they are shown as such.
const changedValues = (before, after, path) => {
  if (canonical(before) === canonical(after)) return [];
  if (isPolicy(before) || isPolicy(after) || shownElsewhere.has(path[0])) return [];
  if (isScript(before) && isScript(after)) return [{ path, script: true, before, after }];
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap(key => changedValues(before[key], after[key], [...path, key]));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    if (before.length === after.length && before.every(isObject)) {
      return before.flatMap((element, i) => changedValues(element, after[i], [...path, i]));
    }
    const gone = onlyIn(before, after);
    const come = onlyIn(after, before);
    if (gone.length || come.length) return [{ path, before: gone.length ? gone : undefined, after: come.length ? come : undefined }];
    return [{ path, before, after }]; // another order
  }
  return [{ path, before, after }];
};

// What the CDK notes for itself says nothing about the resource.
const ownMetadata = resource => Object.fromEntries(
  Object.entries(resource?.Metadata ?? {}).filter(([key]) => !key.startsWith('aws:')));

const attributes = ['DeletionPolicy', 'UpdateReplacePolicy', 'DependsOn', 'Condition', 'CreationPolicy', 'UpdatePolicy'];

// DependsOn has no order, and one name may stand for a list of one.
const attribute = (resource, name) => name === 'DependsOn' ? asList(resource[name]).toSorted() : resource[name];

const valuesOf = (before, after) => [
  ...changedValues(plain(before.Properties ?? {}), plain(after.Properties ?? {}), []),
  ...attributes.flatMap(name => changedValues(attribute(before, name), attribute(after, name), [name])),
];

// fate is what becomes of the physical resource.
const fates = {
  WILL_CREATE: 'created', WILL_UPDATE: 'changed', WILL_REPLACE: 'replaced', MAY_REPLACE: 'may be replaced',
  WILL_DESTROY: 'removed', WILL_ORPHAN: 'removed', WILL_IMPORT: 'imported', NO_CHANGE: 'changed',
};

// reasons names the properties that make CloudFormation replace a resource, and
// the replaced resource that one of them refers to.
const reasons = difference => Object.entries(difference.propertyUpdates)
  .filter(([, change]) => ['WILL_REPLACE', 'MAY_REPLACE'].includes(change.changeImpact))
  .map(([name, change]) => ({ name, replaced: /"(\w+) \(replaced\)"/.exec(JSON.stringify(change.newValue ?? ''))?.[1] }));

// A document that takes new versions is never replaced by its content.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ssm-document.html
const takesVersions = (before, after) => after?.Type === 'AWS::SSM::Document' &&
  [before, after].every(resource => resource?.Properties?.UpdateMethod === 'NewVersion');

const resourceChange = (id, difference) => {
  const { oldValue: before, newValue: after } = difference;
  const named = fates[difference.changeImpact];
  const fate = named === 'may be replaced' && takesVersions(before, after) ? 'changed' : named;
  const change = {
    id, fate,
    name: label(id, after, before),
    type: after?.Type ?? before.Type,
    because: fate.includes('replaced') ? reasons(difference) : [],
    // Of a replaced resource the new template decides; of a removed one only
    // the deployed template is left.
    kept: (after ? after.UpdateReplacePolicy : before.DeletionPolicy) ?? 'Delete',
    script: ownMetadata(after ?? before).Script,
    values: [],
    notes: [],
  };
  if (before && after) {
    change.values = valuesOf(before, after);
    change.notes = changedValues(ownMetadata(before), ownMetadata(after), []);
  }
  return change;
};

// signed compares two lists of rows: "-" for what goes, "+" for what comes.
const signed = (before, after) => [
  ...onlyIn(before, after).map(row => ({ sign: '-', ...row })),
  ...onlyIn(after, before).map(row => ({ sign: '+', ...row })),
];

const collect = (template, rowsOf) => Object.entries(template.Resources ?? {}).flatMap(([id, resource]) => rowsOf(id, resource));

// compare returns the differences of two templates; the first one is undefined
// when nothing is deployed yet.
const compare = (before, after) => {
  const deployed = before ?? {};
  const difference = fullDiff(deployed, after);
  const resources = Object.entries(difference.resources.changes).map(([id, change]) => resourceChange(id, change))
    // The library counts the CDK's notes, too.
    .filter(change => change.fate !== 'changed' || change.values.length || change.notes.length || touchesRows(deployed, after, change.id));
  const name = id => label(id, after.Resources?.[id], deployed.Resources?.[id]);
  return {
    isNew: before === undefined,
    resources: resources.sort(byText(change => change.name)),
    permissions: signed(collect(deployed, permissionsOf), collect(after, permissionsOf)).sort(byText(row => name(row.id) + row.at + row.sid)),
    rules: signed(collect(deployed, rulesOf), collect(after, rulesOf)).sort(byText(row => row.group + row.direction + row.ports + row.peer)),
    rest: ['Description', 'Parameters', 'Rules', 'Mappings', 'Conditions', 'Outputs']
      .flatMap(part => changedValues(plain(deployed[part] ?? {}), plain(after[part] ?? {}), [part])),
    name,
  };
};

const touchesRows = (before, after, id) => [permissionsOf, rulesOf].some(rowsOf =>
  signed(rowsOf(id, before.Resources?.[id]), rowsOf(id, after.Resources?.[id])).length > 0);

module.exports = { compare, widens };
