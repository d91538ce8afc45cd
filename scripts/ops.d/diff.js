// The part of diff.sh that compares templates and writes the note, in GitLab's
// Markdown. It reads one folder:
//
//   stacks.json             [{stack, account, region}, …], in the order of their deploys
//   new/STACK.json          the template to be deployed
//   deployed/STACK.json     the deployed one; not there when there is none
//
// What a reviewer must not miss comes first: what is replaced or removed, and
// who may do more than before.
'use strict';

const fs = require('fs');
const path = require('path');
const { structuredPatch } = require('diff');
const { line } = require('../lib/terminal.js');
const { compare, widens } = require('../lib/template-diff.js');

const maxValue = 300; // characters of a value
const maxScriptLines = 400;
const maxOpenRows = 15; // of a table that is not folded

const read = file => JSON.parse(fs.readFileSync(file, 'utf8'));

// Text of templates in Markdown: on one line, and as code, where nothing is
// markup. A pipe would end a table's cell even there.
const code = value => {
  let text = line(value);
  if (text.length > maxValue) text = `${text.slice(0, maxValue)}…`;
  return `\`${text.replaceAll('`', "'").replaceAll('|', '\\|')}\``;
};

// The content hash of an asset is longer than it says something.
const shorten = text => text.replace(/\b([0-9a-f]{8})[0-9a-f]{56}\b/g, '$1…');

const shown = value => value === undefined ? 'nothing' : code(shorten(typeof value === 'string' ? value : JSON.stringify(value)));

const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

const joined = parts => parts.length ? parts.join('<br>') : '';

const fold = (title, body) => `<details><summary>${title}</summary>\n\n${body}\n\n</details>`;

const table = (head, rows) => [head, head.map(() => '---'), ...rows].map(row => `| ${row.join(' | ')} |`).join('\n');

// section leaves a long table folded, so that the next one is seen.
const section = (title, head, rows) => {
  if (rows.length === 0) return [];
  const body = table(head, rows);
  return [rows.length > maxOpenRows ? fold(`<b>${title}</b> (${rows.length})`, body) : `**${title}**\n\n${body}`];
};

// Permissions and rules.

const side = ({ values, not }) => joined(values.map(value => (not ? 'all but ' : '') + shown(value)));

const permissionRow = name => row => [
  row.sign, code(name(row.id)), row.effect === 'Deny' ? '**Deny**' : row.effect,
  side(row.actions), side(row.resources), side(row.principals),
  joined(Object.entries(row.condition).flatMap(([operator, keys]) =>
    Object.entries(keys).map(([key, value]) => code(`${operator} ${key} ${shorten([value].flat().join(', '))}`)))),
];

const ruleRow = row => [row.sign, code(row.group), row.direction, code(row.ports), code(row.peer)];

// Values.

const patch = (before, after) => {
  const lines = structuredPatch('', '', before.join('\n'), after.join('\n'), '', '', { context: 3 }).hunks
    .flatMap(hunk => [`@@ -${hunk.oldStart} +${hunk.newStart} @@`, ...hunk.lines])
    .filter(text => !text.startsWith('\\'));
  const cut = lines.length > maxScriptLines ? [...lines.slice(0, maxScriptLines), `… and ${lines.length - maxScriptLines} lines more`] : lines;
  return cut;
};

// printable keeps a script's indentation, and shows what would hide a change
// from its reader.
const printable = text => text.replace(/[^\P{C}\t]|[\p{Zl}\p{Zp}]/gu, '\ufffd');

// A fence that no line of the content can close.
const fenced = lines => {
  const longest = Math.max(2, ...lines.flatMap(text => (text.match(/`+/g) ?? []).map(ticks => ticks.length)));
  const fence = '`'.repeat(longest + 1);
  return [`${fence}diff`, ...lines.map(printable), fence].join('\n');
};

const valueLine = ({ path: at, before, after }) => {
  const where = code(at.join('.'));
  if (before === undefined) return `- ${where}: ${shown(after)} is new`;
  if (after === undefined) return `- ${where}: ${shown(before)} goes`;
  return `- ${where}: ${shown(before)} → ${shown(after)}`;
};

// The script of a document is shown as the difference of its lines.
const scripts = change => change.values.filter(value => value.script).map(value => {
  const lines = patch(value.before, value.after);
  const come = lines.filter(text => text.startsWith('+')).length;
  const go = lines.filter(text => text.startsWith('-')).length;
  return fold(`<b>Script</b> <code>${htmlText(change.script ?? change.name)}</code>, +${come} −${go} lines`, fenced(lines));
});

const htmlText = text => line(text).replace(/[&<>]/g, mark => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[mark]);

const changed = change => {
  const values = change.values.filter(value => !value.script).map(valueLine);
  const notes = change.notes.map(note => `${valueLine(note)} (a note in the template)`);
  if (values.length + notes.length === 0) return [];
  return [`${code(change.name)} (${change.type})\n${[...values, ...notes].join('\n')}`];
};

// What comes first: of all that is replaced or removed, what holds data, and the
// hosts.
const precious = [
  'AWS::EC2::Volume', 'AWS::S3::Bucket', 'AWS::SecretsManager::Secret', 'AWS::KMS::Key', 'AWS::Backup::BackupVault',
  'AWS::EC2::Instance', 'AWS::SQS::Queue', 'AWS::Logs::LogGroup',
];

const rank = change => (precious.indexOf(change.type) + precious.length + 1) % (precious.length + 1);

const stays = ({ kept }) => /^Retain/.test(kept);

const loss = change => precious.includes(change.type) ? ', with what is in it' : '';

const old = change => stays(change) ? ' The old one stays, outside of the stack; the new one begins empty.' :
  change.kept === 'Snapshot' ? ' The old one is deleted after a snapshot; the new one begins empty.' :
  ` The old one is deleted${loss(change)}.`;

const gone = change => stays(change) ? ' It stays, outside of the stack.' :
  change.kept === 'Snapshot' ? ' It is deleted after a snapshot.' : ` It is deleted${loss(change)}.`;

const because = (change, nameOf) => {
  const own = change.because.filter(reason => !reason.replaced).map(({ name }) => code(name));
  const others = change.because.filter(reason => reason.replaced).map(({ name, replaced }) => `${code(name)} refers to ${code(nameOf(replaced))}, which is replaced`);
  return [...(own.length ? [`because of ${own.join(', ')}`] : []), ...(others.length ? [`because ${others.join(', ')}`] : [])].join(', and ');
};

const isLoose = value => ['DeletionPolicy', 'UpdateReplacePolicy'].includes(value.path[0]) && /^Retain/.test(value.before) && !/^Retain/.test(value.after);

const first = ({ stack, result }) => {
  if (result.isNew) return [];
  const which = change => `${code(change.name)} (${change.type}) of ${stack}`;
  const more = rows => rows.filter(widens).length;
  const shout = {
    replaced: change => `**REPLACED:** ${which(change)}, ${because(change, result.name)}.${old(change)}`,
    'may be replaced': change => `**MAY BE REPLACED:** ${which(change)}, ${because(change, result.name)}.${old(change)}`,
    removed: change => `**REMOVED:** ${which(change)}.${gone(change)}`,
  };
  const alarms = [
    ...result.resources.filter(change => change.fate in shout).sort((a, b) => rank(a) - rank(b)).map(change => shout[change.fate](change)),
    ...result.resources.filter(change => change.values.some(isLoose))
      .map(change => `**NO LONGER KEPT** when it is replaced or its stack goes: ${which(change)}`),
  ];
  if (result.permissions.length) {
    alarms.push(more(result.permissions)
      ? `**MORE PERMISSIONS** in ${stack}: ${count(more(result.permissions), 'statement')}, see below`
      : `Fewer permissions in ${stack}: ${count(result.permissions.length, 'statement')}`);
  }
  const opened = result.rules.filter(row => row.sign === '+').length;
  if (result.rules.length) {
    alarms.push(opened
      ? `**MORE NETWORK ACCESS** in ${stack}: ${count(opened, 'rule')}, see below`
      : `Less network access in ${stack}: ${count(result.rules.length, 'rule')}`);
  }
  return alarms;
};

const isEmpty = ({ resources, permissions, rules, rest }) => resources.length + permissions.length + rules.length + rest.length === 0;

const details = ({ stack, account, region, result }) => {
  const title = `### ${stack}\n\nAccount ${account}, ${region}.`;
  if (isEmpty(result)) return [`${title} Nothing changes.`];
  const created = result.resources.filter(change => change.fate === 'created');
  const blocks = result.resources.flatMap(changed);
  return [
    result.isNew ? `${title} It is not deployed yet: all of it is created.` : title,
    ...section('Permissions', ['', 'at', 'effect', 'actions', 'on', 'who', 'if'], result.permissions.map(permissionRow(result.name))),
    ...section('Network access', ['', 'group', 'way', 'ports', 'from or to'], result.rules.map(ruleRow)),
    ...section('Created', ['resource', 'type'], created.map(change => [code(change.name), change.type])),
    ...(blocks.length ? ['**Changed**', ...blocks] : []),
    ...result.resources.flatMap(scripts),
    ...(result.rest.length ? [fold('<b>Parameters, outputs and the rest of the template</b>', result.rest.map(valueLine).join('\n'))] : []),
  ];
};

const summary = stacks => {
  const all = stacks.flatMap(({ result }) => result.resources);
  if (stacks.every(({ result }) => isEmpty(result))) return 'Nothing changes.';
  const of = (...wanted) => all.filter(change => wanted.includes(change.fate)).length;
  const line = [
    count(of('replaced'), 'resource is', 'resources are') + ' replaced',
    ...(of('may be replaced') ? [`${of('may be replaced')} may be`] : []),
    `${of('removed')} removed`, `${of('created')} created`, `${of('changed', 'imported')} changed`,
  ].join(', ');
  return `${line}.`;
};

const note = (environment, stacks) => {
  const alarms = stacks.flatMap(first);
  return [
    `## What changes in ${environment}`,
    summary(stacks),
    ...(alarms.length ? [alarms.map(alarm => `- ${alarm}`).join('\n')] : []),
    ...stacks.flatMap(details),
  ].join('\n\n');
};

const main = (environment, folder) => {
  const stacks = read(path.join(folder, 'stacks.json')).map(stack => {
    const deployed = path.join(folder, 'deployed', `${stack.stack}.json`);
    const before = fs.existsSync(deployed) ? read(deployed) : undefined;
    if (typeof before === 'string') throw new Error(`the deployed template of ${stack.stack} is not JSON: the CDK did not deploy it`);
    return { ...stack, result: compare(before, read(path.join(folder, 'new', `${stack.stack}.json`))) };
  });
  console.log(note(environment, stacks));
};

main(...process.argv.slice(2));
