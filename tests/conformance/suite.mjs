// Run a checkout of the public suite against a cache: node suite.mjs CHECKOUT BASE-URL [TEST-ID...]
//
// Prints one JSON object: per test its kind, what it depends on, and what failed, or null. The
// suite's own command wants npm's environment, or it runs nothing; and it runs 25 tests at a time,
// which takes four times as long as 100.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [checkout, base, ...chosen] = process.argv.slice(2)
const load = (...parts) => import(pathToFileURL(path.join(checkout, ...parts)).href)

// The newest has a folder of its own for its engine, the npm package has not.
const isNew = fs.existsSync(path.join(checkout, 'test-engine'))
const { runTests, getResults } = await load(isNew ? 'test-engine' : '.', 'client', 'runner.mjs')
const { default: suites } = await load('tests', 'index.mjs')

const selected = suites.map(suite => ({
  ...suite,
  tests: suite.tests.filter(test => chosen.length === 0 || chosen.includes(test.id))
}))
if (isNew) {
  await runTests(selected, false, base, 100)
} else {
  const require = createRequire(path.join(checkout, 'package.json'))
  await runTests(selected, require('node-fetch'), false, base, 100)
}

const results = getResults()
const report = {}
for (const { tests } of selected) {
  for (const { id, kind, depends_on: needs } of tests) {
    if (!(id in results)) continue // for browsers only
    const failed = results[id] === true ? null : String(results[id].join(': '))
    report[id] = { kind: kind || 'required', needs: needs || [], failed }
  }
}
process.stdout.write('\n' + JSON.stringify(report) + '\n')
