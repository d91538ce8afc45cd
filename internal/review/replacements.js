// What becomes of each resource when a new template takes the place of a deployed one, by
// CloudFormation's own resource specification, in the library that "cdk diff" is made of.
//
//   stdin   [{"deployed": TEMPLATE or null, "next": TEMPLATE}, …]
//   stdout  [{ID: {"impact", "before", "after", "reasons": [{"name", "replaced"}]}}, …]
//
// One start serves any number of pairs: loading the library takes longest.
'use strict';

const { readFileSync } = require('fs');
const { fullDiff } = require('@aws-cdk/cloudformation-diff');

// reasons names the properties that make CloudFormation replace a resource, and the replaced
// resource that one of them refers to.
const reasons = difference => Object.entries(difference.propertyUpdates)
  .filter(([, change]) => ['WILL_REPLACE', 'MAY_REPLACE'].includes(change.changeImpact))
  .map(([name, change]) => ({ name, replaced: /"(\w+) \(replaced\)"/.exec(JSON.stringify(change.newValue ?? ''))?.[1] }));

const changes = ({ deployed, next }) => Object.fromEntries(
  Object.entries(fullDiff(deployed ?? {}, next).resources.changes).map(([id, difference]) => [id, {
    impact: difference.changeImpact, before: difference.oldValue, after: difference.newValue, reasons: reasons(difference),
  }]));

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(changes)));
