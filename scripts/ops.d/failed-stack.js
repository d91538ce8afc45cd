// Tells operators, a line each, why the creation of a stack failed and what is
// left of it:
//
//   node failed-stack.js STATE TEMPLATE RESOURCES [EVENTS]
//
// The files are the answers of list-stack-resources and describe-stack-events,
// and the template that is to be deployed. Exit status 3: the stack may have been
// complete once; 4: what is left is in the way of the next stack.
'use strict';
const { readFileSync } = require('fs');

const [state, templateFile, resourcesFile, eventsFile] = process.argv.slice(2);
const read = file => JSON.parse(readFileSync(file, 'utf8'));
// Reasons hold what programs on hosts say.
const plain = text => String(text ?? '').replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 600);

if (eventsFile) {
  const events = read(eventsFile).StackEvents.reverse(); // the oldest first
  const ofStack = (event, status) => event.PhysicalResourceId === event.StackId && status.test(event.ResourceStatus);
  // CloudFormation forgets events after 90 days. What it has forgotten may have
  // been complete.
  const neverComplete = events.some(event => ofStack(event, /^(CREATE|REVIEW)_IN_PROGRESS$/)) &&
    !events.some(event => ofStack(event, /^(CREATE|UPDATE|IMPORT)_COMPLETE$/));
  if (state === 'DELETE_FAILED' && !neverComplete) process.exit(3);
  const reasons = events
    .filter(event => event.ResourceStatus === 'CREATE_FAILED' && event.PhysicalResourceId !== event.StackId)
    .filter(event => !/cancelled/i.test(event.ResourceStatusReason));
  for (const event of reasons.slice(0, 3)) {
    console.log(`it failed with ${event.LogicalResourceId} (${event.ResourceType}): ${plain(event.ResourceStatusReason)}`);
  }
  if (!reasons.length) console.log('CloudFormation does not say any more why it failed');
}

// An attachment ends with its instance: there is nothing left of it.
const left = read(resourcesFile).StackResourceSummaries
  .filter(({ ResourceStatus, ResourceType }) => /^DELETE_(SKIPPED|FAILED)$/.test(ResourceStatus) && ResourceType !== 'AWS::EC2::VolumeAttachment');
const { Resources: wanted } = read(templateFile);
for (const resource of left) {
  const why = resource.ResourceStatus === 'DELETE_FAILED' ? `could not be deleted: ${plain(resource.ResourceStatusReason)}` : 'was kept';
  console.log(`left over: ${resource.LogicalResourceId} (${resource.ResourceType}) ${plain(resource.PhysicalResourceId)}, ${why}`);
  // A name that is in the template is the next stack's as well.
  if (!eventsFile && Object.values(wanted[resource.LogicalResourceId]?.Properties ?? {}).includes(resource.PhysicalResourceId)) {
    console.log(`the new stack needs the name ${plain(resource.PhysicalResourceId)}: empty and delete the old one, and deploy again`);
    process.exitCode = 4;
  }
}
