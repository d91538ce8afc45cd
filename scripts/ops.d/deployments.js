// The part of deployments.sh that reads JSON and makes the table. All that it
// reads comes from files which the AWS CLI wrote into one folder:
//
//   objects.json      the listing of the upload states
//   states/           the newest of them, as they are in the bucket
//   groups.json       the deployment groups of an application
//   lists/*.json      ids of deployments
//   deployments/*.json  the deployments themselves
//
// Who may upload chooses much of the text in there: see lib/terminal.js.
'use strict';

const fs = require('fs');
const path = require('path');
const { line, word, cut, json, note } = require('../lib/terminal.js');

const maxState = 64 << 10; // bytes; the functions write far less
const maxReason = 1000; // characters in the table
const maxGroups = 20; // of one application, each a call

// The ids that lambda/internal/status names its objects after.
const statusKey = /^deployments\/([A-Za-z0-9._-]{1,128})\.json$/;
const uploadId = /^[A-Za-z0-9._-]{1,128}$/;
const deploymentId = /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/;

// Ranks of lambda/internal/status.
const ranks = {
  Waiting: 1, Created: 2, InProgress: 3, Ready: 4,
  Succeeded: 5, Failed: 5, Stopped: 5, Superseded: 5, Rejected: 5,
};

// State of a CodeDeploy status; one that is new to us is under way.
const states = {
  Created: 'Created', Queued: 'Created', Ready: 'Ready',
  Succeeded: 'Succeeded', Failed: 'Failed', Stopped: 'Stopped',
};

// Who deploys, as GitLab has signed it: only the states have it, and not those of
// groups that ask for no proof.
const by = ['project', 'ref', 'user', 'pipelineUrl'];

const [step, folder, ...rest] = process.argv.slice(2);
const file = name => path.join(folder, name);
const read = name => JSON.parse(fs.readFileSync(file(name)));
const readAll = name => fs.readdirSync(file(name)).map(entry => read(path.join(name, entry)));

// AWS CLI 1 writes times as seconds, AWS CLI 2 in ISO 8601.
const time = value => {
  const at = typeof value === 'number' || /^[\d.]+$/.test(value) ? Number(value) * 1000 : Date.parse(value);
  return Number.isFinite(at) ? at : 0;
};

const text = value => typeof value === 'string' && value !== '' ? value : null;

// newest lists the newest upload states: name, time and size.
const newest = window => {
  const { objects, more } = read('objects.json');
  const found = (objects ?? [])
    .map(([key, modified, size]) => ({ name: statusKey.exec(key)?.[1], at: time(modified), size }))
    .filter(object => object.name)
    .sort((a, b) => b.at - a.at || (a.name < b.name ? 1 : -1));
  return { all: found.length, more: Boolean(more), newest: found.slice(0, window) };
};

// state reads one upload's state; what has not the form of one is unreadable.
const state = ({ name, at, size }) => {
  const row = { upload: true, uploadId: name, at, application: null, deploymentGroup: null, deploymentId: null, key: null, versionId: null };
  const unreadable = reason => ({ ...row, state: 'unreadable', reason });
  if (size > maxState) return unreadable(`${size} bytes, and a state has at most ${maxState}`);
  let content;
  try {
    content = JSON.parse(fs.readFileSync(file(path.join('states', `${name}.json`)), 'utf8'));
  } catch (error) {
    return unreadable(error.code === 'ENOENT' ? 'gone before it could be read' : 'not JSON');
  }
  if (content === null || typeof content !== 'object' || Array.isArray(content)) return unreadable('not a JSON object');
  if (!Object.hasOwn(ranks, content.state)) return unreadable(`state ${JSON.stringify(content.state ?? null).slice(0, 100)}`);
  for (const field of ['application', 'deploymentGroup', 'deploymentId', 'key', 'versionId', 'reason', 'updatedAt', ...by]) {
    const value = content[field] ?? '';
    if (typeof value !== 'string') return unreadable(`${field} is no text`);
  }
  if (content.deploymentId && !deploymentId.test(content.deploymentId)) return unreadable('deploymentId is no id of CodeDeploy');
  return {
    ...row,
    state: content.state,
    application: text(content.application),
    deploymentGroup: text(content.deploymentGroup),
    deploymentId: text(content.deploymentId),
    key: text(content.key),
    versionId: text(content.versionId),
    reason: text(content.reason),
    ...Object.fromEntries(by.map(field => [field, text(content[field])])),
    at: time(content.updatedAt ?? '') || at,
  };
};

// deployment makes a row of what CodeDeploy says.
const deployment = info => {
  const error = info.errorInformation ?? {};
  const by = info.creator && info.creator !== 'user' ? `made by CodeDeploy itself (${info.creator})` : null;
  const about = Object.fromEntries((info.description ?? '').split(/\s+/).reverse().map(part => part.split(/=(.*)/s)));
  const location = info.revision?.s3Location ?? {};
  return {
    application: text(info.applicationName),
    deploymentGroup: text(info.deploymentGroupName),
    state: states[info.status] ?? 'InProgress',
    // A deployment that CodeDeploy made itself repeats an earlier revision.
    uploadId: !by && uploadId.test(about['upload-id'] ?? '') ? about['upload-id'] : null,
    deploymentId: info.deploymentId,
    key: text(location.key),
    versionId: text(location.version),
    reason: [by, [error.code, error.message].filter(Boolean).join(': ')].filter(Boolean).join('; ') || null,
    at: time(info.createTime ?? ''),
    bucket: location.bucket,
  };
};

// merge puts both sources together: a row for each deployment, and one for
// each upload without one.
const merge = (uploads, deployments) => {
  const rest = new Map(deployments.map(d => [d.deploymentId, d]));
  const rows = uploads.map(u => {
    // Without an id: created, but the function ended before it wrote so.
    const d = u.deploymentId ? rest.get(u.deploymentId) :
      u.state === 'Waiting' ? [...rest.values()].find(d => d.uploadId === u.uploadId && d.versionId === u.versionId) : undefined;
    if (!d) return u;
    rest.delete(d.deploymentId);
    const ahead = ranks[u.state] > ranks[d.state];
    return {
      ...u,
      deploymentId: d.deploymentId,
      state: ahead ? u.state : d.state,
      reason: d.reason ?? (ahead || d.state === u.state ? u.reason : null),
      at: d.at || u.at,
    };
  });
  return [...rows, ...rest.values()];
};

// pick keeps the rows of the stack's pairs and of the filter: the newest of
// each application, the application with the newest one first.
const pick = (rows, bucket, application, group, last) => {
  const pair = row => JSON.stringify([row.application, row.deploymentGroup]);
  // Somebody's deployment of something else to a group of ours is told, too.
  const ours = new Set(rows.filter(row => row.upload || row.bucket === bucket).map(pair));
  const wanted = rows.filter(row =>
    (application ? row.application === application : ours.has(pair(row))) &&
    (!group || row.deploymentGroup === group));
  const applications = new Map();
  for (const row of wanted.sort((a, b) => b.at - a.at)) {
    applications.set(row.application, [...(applications.get(row.application) ?? []), row]);
  }
  return [...applications.values()].flatMap(rows => rows.slice(0, last));
};

const age = seconds =>
  seconds < 60 ? `${seconds} s` :
  seconds < 3600 ? `${Math.floor(seconds / 60)} m` :
  seconds < 48 * 3600 ? `${Math.floor(seconds / 3600)} h` :
  `${Math.floor(seconds / 86400)} d`;

const table = (rows, now) => {
  const proven = rows.some(row => row.project);
  const from = row => proven ? [row.project ? `${row.project}@${row.ref} by ${row.user ?? '-'}` : '-'] : [];
  const head = ['APPLICATION', 'GROUP', 'STATE', 'AGE', 'UPLOAD', 'DEPLOYMENT', 'VERSION', ...(proven ? ['FROM'] : [])];
  const cells = rows.map(row => [
    ...[row.application, row.deploymentGroup, row.state].map(name => word(name ?? '-')),
    row.at ? age(Math.max(0, Math.floor((now - row.at) / 1000))) : '-',
    ...[row.uploadId, row.deploymentId, row.versionId].map(name => word(name ?? '-')),
    ...from(row).map(line),
  ]);
  const widths = head.map((name, i) => Math.max(name.length, ...cells.map(row => row[i].length)));
  const join = (row, reason) => [...row.map((cell, i) => cell.padEnd(widths[i])), reason].join('  ').trimEnd();
  // The names are for copying: only the reason is cut, and never to nothing.
  const left = (process.stdout.columns || Infinity) - widths.reduce((sum, width) => sum + width + 2, 0);
  const room = process.stdout.isTTY ? Math.max(20, left) : Infinity;
  return [join(head, 'REASON'), ...cells.map((row, i) => join(row, cut(line((rows[i].reason ?? '-').slice(0, maxReason)), room)))].join('\n');
};

const print = (bucket, last, format, application, group) => {
  const window = Number(fs.readFileSync(file('window'), 'utf8'));
  const listing = newest(window);
  const lists = readAll('lists');
  let uploads = listing.newest.map(state);
  const unreadable = uploads.filter(upload => upload.state === 'unreadable');
  if (application || group) {
    uploads = uploads.filter(upload => upload.state !== 'unreadable');
    if (unreadable.length) note(`${unreadable.length} unreadable upload states: ${unreadable.map(upload => upload.uploadId).join(' ')}`);
  }
  const deployments = readAll('deployments').flatMap(answer => (answer.deploymentsInfo ?? []).map(deployment));
  const rows = pick(merge(uploads, deployments), bucket, application, group, Number(last));

  if (listing.more) note(`there are more than ${listing.all} upload states, and S3 lists them by name: newer ones may be missing`);
  else if (listing.all > window) note(`looked at the newest ${window} of ${listing.all} upload states`);
  if (lists.some(list => list.more)) note(`looked at the newest ${window} deployments; --application and --deployment-group look at one group's`);
  if (rows.length === 0) note(`no deployments and no uploads yet${application || group ? ' of ' + [application, group].filter(Boolean).join(', ') : ''}`);

  const now = Date.now();
  if (format === 'json') {
    console.log(json(rows.map(row => ({
      application: row.application, deploymentGroup: row.deploymentGroup, state: row.state,
      uploadId: row.uploadId, deploymentId: row.deploymentId, key: row.key, versionId: row.versionId, reason: row.reason,
      ...Object.fromEntries(by.map(field => [field, row[field] ?? null])),
      since: row.at ? new Date(row.at).toISOString() : null,
      ageSeconds: row.at ? Math.max(0, Math.floor((now - row.at) / 1000)) : null,
    }))));
  } else if (rows.length) {
    console.log(table(rows, now));
  }
};

const steps = {
  // choose prints the objects to read.
  choose: window => {
    fs.writeFileSync(file('window'), window);
    const names = newest(Number(window)).newest.filter(object => object.size <= maxState).map(object => `${object.name}.json`);
    if (names.length) console.log(names.join('\n'));
  },

  // groups prints the application's groups.
  groups: () => {
    const groups = read('groups.json') ?? [];
    if (groups.length > maxGroups) note(`looking at ${maxGroups} of ${groups.length} deployment groups; --deployment-group chooses one`);
    const names = groups.filter(name => line(name) === name).slice(0, maxGroups);
    if (names.length) console.log(names.join('\n'));
  },

  // ids prints the deployments to read, so many a line. Those that only an
  // upload's state names have lines of their own: CodeDeploy may not know them.
  ids: batch => {
    const listed = new Set(readAll('lists').flatMap(list => list.ids ?? []).filter(id => deploymentId.test(id)));
    const window = Number(fs.readFileSync(file('window'), 'utf8'));
    const named = new Set(newest(window).newest.map(object => state(object).deploymentId).filter(id => id && !listed.has(id)));
    for (const ids of [[...listed], [...named]]) {
      for (let i = 0; i < ids.length; i += Number(batch)) console.log(ids.slice(i, i + Number(batch)).join(' '));
    }
  },

  print,
};

// A reader who has seen enough, such as head, is no mistake.
process.stdout.on('error', error => process.exit(error.code === 'EPIPE' ? 0 : 1));
steps[step](...rest);
