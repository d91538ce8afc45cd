// What remote.sh needs more than a shell for: the JSON of Systems Manager, and
// what follow-operation.sh prints.
//
//   follow.js parameters Name=value …   the parameters of a document
//   follow.js invocation FOLDER         FOLDER/invocation.json: what became of a command
//   follow.js news FOLDER RUN           FOLDER/stdout: what came of a run's log and result;
//                                       RUN is empty until its id is known
//   follow.js text                      stdin, harmless on a terminal
'use strict';

const fs = require('fs');
const path = require('path');
const terminal = require('./terminal.js');

// https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
const underWay = ['Pending', 'InProgress', 'Delayed', 'Cancelling'];

const steps = {
  parameters: (...pairs) => {
    const entries = pairs.map(pair => [pair.slice(0, pair.indexOf('=')), [pair.slice(pair.indexOf('=') + 1)]]);
    console.log(JSON.stringify(Object.fromEntries(entries)));
  },

  // Prints "pending", "ended CODE" or "failed - WHY".
  invocation: folder => {
    const answer = JSON.parse(fs.readFileSync(path.join(folder, 'invocation.json')));
    const { Status: status, StatusDetails: details, ResponseCode: code } = answer;
    if (typeof status !== 'string') throw new Error('no status');
    if (underWay.includes(status)) return console.log('pending');
    fs.writeFileSync(path.join(folder, 'stdout'), answer.StandardOutputContent ?? '');
    fs.writeFileSync(path.join(folder, 'stderr'), answer.StandardErrorContent ?? '');
    // A script's own status; without one, nothing of it has run or it was cut off.
    const ran = status === 'Success' || (status === 'Failed' && Number.isInteger(code) && code > 0);
    console.log(ran ? `ended ${code}` : `failed - ${terminal.word(details || status)}`);
  },

  // Prints "STATE EXIT MORE LOG RESULT RUN", "-" for what there is not.
  news: (folder, known) => {
    const [first, ...lines] = fs.readFileSync(path.join(folder, 'stdout'), 'utf8').split('\n');
    const { run, operation, started, state, exit, log, result, more } = JSON.parse(first);
    const sound = ['running', 'ended', 'lost', 'none'].includes(state) && typeof more === 'boolean' &&
      [log, result].every(Number.isSafeInteger) && [run, operation, started].every(text => /^[\w:-]*$/.test(text)) &&
      (state === 'ended' ? Number.isInteger(exit) && exit >= 0 && exit <= 255 : exit === null);
    if (!sound) throw new Error('not what follow-operation.sh prints');
    if (!known && run) terminal.note(`following run ${run}, started at ${started}`);
    if (lines.at(-1) === '') lines.pop();
    for (const line of lines) {
      const text = line.slice(2) + (line[1] === '+' ? '' : '\n');
      if (line[0] === '|') process.stderr.write(terminal.text(text));
      else if (line[0] === '>') fs.appendFileSync(path.join(folder, 'result'), text);
      else throw new Error(`a line without a mark: ${line}`);
    }
    console.log(state, exit ?? '-', more, log, result, run || '-');
  },

  text: () => process.stdout.write(terminal.text(fs.readFileSync(0, 'utf8'))),
};

try {
  const [step, ...rest] = process.argv.slice(2);
  steps[step](...rest);
} catch (error) {
  terminal.note(`error: ${terminal.line(error.message).slice(0, 300)}`);
  process.exitCode = 1;
}
