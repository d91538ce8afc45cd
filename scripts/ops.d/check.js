// The part of check.sh that needs more than a shell. Its steps share a folder
// of AWS's answers, NAME.json, or NAME.error with the reason for none:
//
//   check.js profile FOLDER INSTANCE        the name of its instance profile, or nothing
//   check.js role FOLDER INSTANCE           the name of the role in that, or nothing
//   check.js table FOLDER SERVER RUNNER     the table; exit status 1 if not all is ok
'use strict';

const fs = require('fs');
const path = require('path');
const terminal = require('../lib/terminal.js');

const [step, folder, ...ids] = process.argv.slice(2);

const read = name => {
  const file = path.join(folder, name);
  return fs.existsSync(file + '.json') ? JSON.parse(fs.readFileSync(file + '.json', 'utf8') || '{}') : null;
};
const reason = name => {
  const file = path.join(folder, name + '.error');
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : 'not looked at';
};

const instance = id => (read('instances')?.Reservations ?? []).flatMap(r => r.Instances ?? []).find(i => i.InstanceId === id);
const profileName = id => instance(id)?.IamInstanceProfile?.Arn?.split('/').pop();
const role = id => read(`profile-${id}`)?.InstanceProfile?.Roles?.[0]?.RoleName;

// https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html
const services = ['ssm', 'ssmmessages', 'ec2messages'];
const policy = 'AmazonSSMManagedInstanceCore';

const ok = what => ['ok', what];
const wrong = what => ['wrong', what];
const unknown = name => ['unknown', `AWS did not say: ${reason(name)}`];

function plugin() {
  const found = fs.readFileSync(path.join(folder, 'plugin'), 'utf8').trim();
  return found ? ok(found) : wrong('session-manager-plugin is not installed: ' +
    'https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html');
}

function running(id) {
  if (!read('instances')) return unknown('instances');
  const state = instance(id)?.State?.Name;
  if (!state) return wrong(`there is no instance ${id}`);
  return state === 'running' ? ok(`${id} is running`) : wrong(`${id} is ${state}: start it`);
}

function permitted(id) {
  if (!read('instances')) return unknown('instances');
  if (!instance(id)) return wrong('no instance');
  if (!profileName(id)) return wrong(`${id} has no instance profile, so its agent may not register`);
  if (!read(`profile-${id}`)) return unknown(`profile-${id}`);
  if (!role(id)) return wrong(`the instance profile ${profileName(id)} has no role`);
  const policies = read(`policies-${id}`);
  if (!policies) return unknown(`policies-${id}`);
  const attached = (policies.AttachedPolicies ?? []).some(p => p.PolicyName === policy);
  return attached ? ok(`${role(id)} has ${policy}`) : wrong(`${role(id)} lacks the policy ${policy}`);
}

function online(id) {
  const agents = read('agents');
  if (!agents) return unknown('agents');
  const agent = (agents.InstanceInformationList ?? []).find(a => a.InstanceId === id);
  if (!agent) return wrong('the agent has never registered, or has been away for a month');
  const version = `agent ${agent.AgentVersion}`;
  if (agent.PingStatus === 'Online') return ok(`online, ${version}`);
  return wrong(`${agent.PingStatus}: nothing heard since ${when(agent.LastPingDateTime)}, ${version}`);
}

// AWS CLI 1 prints seconds, 2 a date.
function when(time) {
  const date = new Date(typeof time === 'number' ? time * 1000 : time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString().replace(/\.\d+/, '');
}

function reachable(service) {
  const answer = read('endpoints');
  if (!answer) return unknown('endpoints');
  const found = (answer.VpcEndpoints ?? []).filter(e => e.ServiceName?.endsWith('.' + service));
  if (found.length === 0) return wrong('the VPC has no such endpoint');
  const [endpoint] = found;
  const state = String(endpoint.State).toLowerCase();
  if (state !== 'available') return wrong(`${endpoint.VpcEndpointId} is ${state}`);
  if (endpoint.PrivateDnsEnabled === false) return wrong(`${endpoint.VpcEndpointId} has no private DNS, so the agent does not find it`);
  return ok(`${endpoint.VpcEndpointId} is available`);
}

function table(server, runner) {
  const rows = [['this machine', 'plug-in of the AWS CLI', ...plugin()]];
  for (const service of services) rows.push(['network', `endpoint ${service}`, ...reachable(service)]);
  for (const [name, id] of [['server', server], ['runner', runner]]) {
    rows.push([name, 'instance', ...running(id)], [name, 'role', ...permitted(id)], [name, 'SSM Agent', ...online(id)]);
  }
  for (const [where, what, state, found] of [['WHERE', 'WHAT', 'STATE', 'FOUND'], ...rows]) {
    console.log(`${where.padEnd(14)}${what.padEnd(24)}${state.padEnd(9)}${terminal.line(found)}`);
  }
  conclude(rows);
  process.exitCode = rows.every(row => row[2] === 'ok') ? 0 : 1;
}

// conclude says for each host what to do first: an agent that is away while all
// before it is well has a trouble of its own.
function conclude(rows) {
  for (const host of ['server', 'runner']) {
    const agent = rows.find(([where, what]) => where === host && what === 'SSM Agent');
    if (agent[2] === 'ok') {
      terminal.note(`Session Manager reaches the ${host}`);
    } else if (agent[2] === 'wrong') {
      const cause = rows.find(row => [host, 'network'].includes(row[0]) && row !== agent && row[2] === 'wrong' && row[1] === 'instance') ??
        rows.find(row => [host, 'network'].includes(row[0]) && row !== agent && row[2] === 'wrong');
      terminal.note(terminal.line(`Session Manager does not reach the ${host}: ` + (cause
        ? `${cause[0]}, ${cause[1]}: ${cause[3]}`
        : 'all before the agent is well; a restart of the instance restarts the agent, and its console output tells more')));
    }
  }
}

const steps = {
  profile: () => console.log(profileName(ids[0]) ?? ''),
  role: () => console.log(role(ids[0]) ?? ''),
  table: () => table(...ids),
};
steps[step]();
