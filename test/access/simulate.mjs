// Decides requests: a JSON list of simulations on stdin, a JSON list of
// decisions on stdout, in the same order. A program of its own, because the
// simulator is under the AGPL-3.0: nothing else here imports it.

import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const simulations = JSON.parse(readFileSync(0, 'utf8'))
const decisions = []
for (const simulation of simulations) {
  const { resultType, overallResult, result, results, errors } = await runSimulation(simulation, {})
  // A request names one thing; several results would be those of a pattern. An
  // action without resources names "*", and has one result or, refused, none.
  const whole = simulation.request.resource.resource === '*' && resultType === 'wildcard' && results.length <= 1
  decisions.push({
    result: overallResult ?? '',
    ignored: (whole ? results[0] : result)?.ignoredContextKeys ?? [],
    error: errors ? JSON.stringify(errors) : resultType === 'single' || whole ? '' : `got the result ${resultType}, want single`
  })
}
process.stdout.write(JSON.stringify(decisions))
