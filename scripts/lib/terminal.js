// Text from outside on a terminal: metadata of uploads, reasons, descriptions.
// A line of it must stay one line, and must not reach the terminal as a command.
'use strict';

// Controls, format characters such as the bidirectional ones, halves of
// surrogate pairs, unassigned code points, and Unicode's own line ends.
const unprintable = /[\p{C}\p{Zl}\p{Zp}]/gu;

// Letters that take two columns, well enough for a table.
const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

// line makes one printable line of a text.
const line = text => text.replace(/\s+/gu, ' ').trim().replace(unprintable, '\ufffd');

// text makes a text of several lines printable; its tabs and blanks stay.
const text = lines => lines.replace(/[^\P{C}\n\t]|[\p{Zl}\p{Zp}]/gu, '\ufffd');

// word makes a name of a text: what none can have becomes "?".
const word = (text, length = 128) => {
  const name = text.slice(0, length + 1).replace(/[^\w.+=,@/-]/g, '?');
  return name.length > length ? name.slice(0, length - 1) + '…' : name;
};

const columns = character => /\p{M}/u.test(character) ? 0 : wide.test(character) ? 2 : 1;

// cut shortens a printable line to a number of columns.
const cut = (text, width) => {
  let used = 0;
  let kept = '';
  let short = ''; // the longest beginning that leaves a column for the mark
  for (const character of text) {
    used += columns(character);
    if (used > width) return short + '…';
    kept += character;
    if (used < width) short = kept;
  }
  return kept;
};

// json is JSON.stringify with everything escaped that is not printable.
const json = value => JSON.stringify(value, null, 2).replace(/[^\n\P{C}]|[\p{Zl}\p{Zp}]/gu, found =>
  [...Array(found.length).keys()].map(i => '\\u' + found.charCodeAt(i).toString(16).padStart(4, '0')).join(''));

// note is the log of common.sh.
const note = text => console.error(`${new Date().toISOString().replace(/\.\d+/, '')} ${text}`);

module.exports = { line, text, word, cut, json, note };
