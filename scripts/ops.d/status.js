// The part of status.sh that needs more than a shell. Its steps share a folder
// of answers, NAME.json, or NAME.error with the reason for none; what the server
// printed is in "result".
//
//   status.js balancer FOLDER DNS-NAME      the load balancer's ARN, or nothing
//   status.js group FOLDER                  the target group's ARN, or nothing
//   status.js table FOLDER SERVER RUNNER    the table; exit status 1 if not all is ok
'use strict';

const fs = require('fs');
const path = require('path');
const terminal = require('../lib/terminal.js');

const [step, folder, ...words] = process.argv.slice(2);

const text = name => {
  const file = path.join(folder, name);
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
};
const read = name => {
  const file = text(name + '.json');
  return file.trim() ? JSON.parse(file) : fs.existsSync(path.join(folder, name + '.json')) ? [] : null;
};
const unknown = (part, ...names) => [part, 'unknown', `AWS did not say: ${names.map(name => text(name + '.error')).find(Boolean) || 'nothing found'}`];

// Without a backup for this long something is wrong with the nightly one.
const staleHours = 26;

function agent(name, id) {
  const agents = read('agents');
  if (!agents) return unknown(`${name}'s agent`, 'agents');
  const found = (agents.InstanceInformationList ?? []).find(a => a.InstanceId === id);
  if (found?.PingStatus === 'Online') return [`${name}'s agent`, 'ok', `online, ${id}`];
  return [`${name}'s agent`, 'wrong', `${found?.PingStatus ?? 'not registered'}, ${id}: scripts/ops check says why`];
}

function backup() {
  const keys = read('backups');
  if (!keys) return unknown('last backup', 'backups');
  // GitLab's own ids begin with the second of their making.
  const ids = keys.map(key => key.split('/')[1]).filter(id => /^\d{10}_\d{4}_\d\d_\d\d_\d+\.\d+\.\d+(-ee)?$/.test(id)).sort();
  if (ids.length === 0) return ['last backup', 'wrong', 'there is no complete one'];
  const last = ids.at(-1);
  const hours = (Date.now() / 1000 - Number(last.slice(0, 10))) / 3600;
  const age = hours < 48 ? `${Math.round(hours)} hours` : `${Math.round(hours / 24)} days`;
  return ['last backup', hours <= staleHours ? 'ok' : 'wrong', `${last}, ${age} old`];
}

function balancer() {
  const health = read('health');
  if (!health) return unknown('load balancer', 'balancers', 'groups', 'health');
  const states = (health.TargetHealthDescriptions ?? []).map(target => target.TargetHealth ?? {});
  const [state = {}] = states;
  if (state.State === 'healthy') return ['load balancer', 'ok', 'the server is healthy'];
  return ['load balancer', 'wrong', state.State ? `the server is ${state.State}: ${state.Description ?? state.Reason ?? ''}` : 'it has no target'];
}

function server() {
  if (text('server.error')) return [['server', 'unknown', text('server.error')]];
  return text('result').split('\n').filter(Boolean).map(line => line.split('\t'))
    .map(([part, state, found]) => [part, ['ok', 'wrong', 'unknown', '-'].includes(state) ? state : 'unknown', found ?? '']);
}

const steps = {
  balancer: () => console.log((read('balancers') ?? []).find(([name]) => name.toLowerCase() === words[0].toLowerCase())?.[1] ?? ''),
  group: () => console.log((read('groups') ?? [])[0] ?? ''),
  table: () => {
    const [serverID, runnerID] = words;
    const rows = [...server(), backup(), balancer(), agent('server', serverID), agent('runner', runnerID)];
    for (const [part, state, found] of [['PART', 'STATE', 'FOUND'], ...rows]) {
      console.log(`${terminal.line(part).padEnd(16)}${state.padEnd(9)}${terminal.line(found)}`);
    }
    process.exitCode = rows.every(row => row[1] === 'ok' || row[1] === '-') ? 0 : 1;
  },
};
steps[step]();
