// The part of redrive.sh that reads JSON from stdin. Messages hold what S3
// said about uploads, so keys are text from outside: see lib/terminal.js.
'use strict';

const { line, word, json } = require('../lib/terminal.js');

// AWS CLI 1 prints nothing at all for an empty answer.
const input = () => JSON.parse(require('fs').readFileSync(0, 'utf8').trim() || '{}') ?? {};

// artifacts lists the object versions that a message is about. Keys come
// form-encoded. https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
const artifacts = body => {
  try {
    return JSON.parse(body).Records.map(({ s3 }) => ({
      bucket: String(s3.bucket.name),
      key: decodeURIComponent(String(s3.object.key).replace(/\+/g, ' ')),
      version: String(s3.object.versionId ?? ''),
    }));
  } catch {
    return [];
  }
};

const steps = {
  // peek prints a line for each artifact in some messages: what to show, and
  // for one of the bucket BUCKET also key and version, to look it up.
  peek: bucket => {
    const messages = new Map((input().Messages ?? []).map(m => [m.MessageId, m.Body]));
    for (const [id, body] of messages) {
      const found = artifacts(body);
      if (found.length === 0) console.log(`message ${word(String(id))}, which is about no artifact\t\t`);
      for (const artifact of found) {
        const shown = line(artifact.key.slice(0, 1024)) + (artifact.version && ` version ${word(artifact.version)}`);
        // Nothing that a shell, a terminal or the AWS CLI (file://…) reads as something else.
        const plain = artifact.bucket === bucket && line(artifact.key) === artifact.key && !artifact.key.includes('://') &&
          word(artifact.version) === artifact.version;
        console.log([shown, plain ? artifact.key : '', plain ? artifact.version : ''].join('\t'));
      }
    }
  },

  // task prints status, counts and start of the newest move, and on a second
  // line the reason of a failure; "NONE" when there never was a move.
  task: () => {
    const [task] = (input().Results ?? []).sort((a, b) => b.StartedTimestamp - a.StartedTimestamp);
    const count = value => Number(value ?? 0);
    if (!task) return console.log('NONE 0 0 0');
    console.log([word(String(task.Status)), count(task.ApproximateNumberOfMessagesMoved),
      count(task.ApproximateNumberOfMessagesToMove), count(task.StartedTimestamp)].join(' '));
    console.log(line(task.FailureReason ?? ''));
  },

  // answer prints what the status function worked off and what it left, two
  // numbers; or in a line what it said instead. Lambda answers 200 also when the
  // function fails. https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
  answer: (error, file) => {
    const text = require('fs').readFileSync(file, 'utf8');
    const count = n => Number.isSafeInteger(n) && n >= 0;
    let said;
    try {
      said = JSON.parse(text);
    } catch {
      said = null;
    }
    if (error !== 'None') return console.log(`${line(error)}: ${line(String(said?.errorMessage ?? text).slice(0, 1000))}`);
    if (count(said?.events) && count(said?.left)) return console.log(`${said.events} ${said.left}`);
    console.log(`want {"events", "left"} for an answer, got '${line(text.slice(0, 200))}'; deploy it anew with scripts/ops deploy`);
  },

  // result prints the outcome.
  result: (deadLetterQueue, queue, status, moved, events) =>
    console.log(json({ deadLetterQueue, queue, status, moved: Number(moved), events: Number(events) })),
};

const [step, ...rest] = process.argv.slice(2);
steps[step](...rest);
