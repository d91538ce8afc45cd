// The part of backups.sh that needs more than a shell:
//
//   backups.js table|json FOLDER BUCKET
//
// FOLDER has backups.json and secrets.json, the listings [[key, size], …], and
// the manifests in manifests/<id>/manifest.json. What a manifest looks like
// stands in scripts/lib/backup-store.sh.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const terminal = require('../lib/terminal.js');

const [format, folder, bucket] = process.argv.slice(2);

const form = /^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_([0-9]+\.[0-9]+\.[0-9]+)(-ee)?$/;

const sizes = new Map();
for (const prefix of ['backups', 'secrets']) {
  const text = fs.readFileSync(path.join(folder, `${prefix}.json`), 'utf8');
  for (const [key, size] of JSON.parse(text || 'null') ?? []) sizes.set(key, size);
}

// check returns what is wrong with a backup, or '', and the manifest.
function check(id) {
  const file = path.join(folder, 'manifests', id, 'manifest.json');
  if (!fs.existsSync(file)) return ['it has no manifest: it was never completed, or is on its way', null];
  const text = fs.readFileSync(file, 'utf8');
  const [, head, hash] = /^([^]*\n)"sha256": "([0-9a-f]{64})"\n\}\n$/.exec(text) ?? [];
  if (!head || crypto.createHash('sha256').update(head).digest('hex') !== hash) {
    return ['its manifest was changed, or is cut off', null];
  }
  let manifest;
  try {
    manifest = JSON.parse(text);
    const [, version, ee] = form.exec(id);
    const parts = manifest.parts.filter(part => part !== null);
    const sound = manifest.id === id && manifest.version === version && manifest.edition === (ee ? 'ee' : 'ce') &&
      parts.length > 1 && parts.every(part => /^(backups|secrets)\//.test(part.key) && Number.isSafeInteger(part.size));
    if (!sound) return ['its manifest is of another backup', null];
    for (const { key, size } of parts) {
      if (!sizes.has(key)) return [`${key} is missing`, manifest];
      if (sizes.get(key) !== size) return [`${key} has ${sizes.get(key)} bytes, and ${size} were written`, manifest];
    }
  } catch {
    return ['its manifest makes no sense', null];
  }
  return ['', manifest];
}

const ids = [...new Set([...sizes.keys()].map(key => key.split('/')[1]))].filter(id => form.test(id)).sort().reverse();
const backups = ids.map(id => {
  const [reason, manifest] = check(id);
  const [, version, ee] = form.exec(id);
  let bytes = 0;
  for (const [key, size] of sizes) if (key.split('/')[1] === id) bytes += size;
  return {
    backup: id, version, edition: ee ? 'ee' : 'ce', bytes, ageSeconds: Math.max(0, Math.round(Date.now() / 1000) - Number(id.slice(0, 10))),
    host: manifest ? terminal.word(String(manifest.host)) : null, complete: !reason, reason: reason ? terminal.line(reason) : null,
  };
});

const age = seconds => seconds < 7200 ? `${Math.round(seconds / 60)} min` : seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
const size = bytes => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;

if (format === 'json') {
  console.log(terminal.json(backups));
} else if (backups.length === 0) {
  terminal.note(`there is no backup in ${bucket}`);
} else {
  const rows = [['BACKUP', 'GITLAB', 'SIZE', 'AGE', 'COMPLETE'], ...backups.map(b =>
    [b.backup, `${b.version} ${b.edition}`, size(b.bytes), age(b.ageSeconds), b.complete ? 'yes' : `no: ${b.reason}`])];
  const widths = rows[0].map((_, i) => Math.max(...rows.map(row => row[i].length)));
  for (const row of rows) console.log(row.map((cell, i) => i === row.length - 1 ? cell : cell.padEnd(widths[i])).join('  '));
}
