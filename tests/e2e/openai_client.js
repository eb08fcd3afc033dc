// Calls a server with OpenAI's package: tasks as JSON on standard input, results in the same order
// on standard output. NODE_PATH has to name the folder that holds the package.
'use strict';
const fs = require('fs');
const path = require('path');
const { OpenAI, toFile } = require('openai');

// The ways in which programs hand a recording over.
async function recording(task) {
  if (task.zeros) return new File([Buffer.alloc(task.zeros)], 'zeros.wav');
  const name = task.name || path.basename(task.file);
  switch (task.as) {
    case 'stream': // chunked, without Content-Length
      return fs.createReadStream(task.file);
    case 'unnamed':
      return toFile(fs.readFileSync(task.file));
    default:
      return new File([fs.readFileSync(task.file)], name);
  }
}

async function events(stream, task) {
  const list = [];
  for await (const event of stream) {
    list.push(event);
    if (task.leave && list.length >= task.leave) break; // aborts the request
  }
  return list;
}

async function run(client, task) {
  if (task.call === 'models') {
    const list = [];
    for await (const model of client.models.list()) list.push(model);
    return list;
  }
  if (task.call === 'model') return client.models.retrieve(task.id);
  const api = task.call === 'translate' ? client.audio.translations : client.audio.transcriptions;
  const params = task.first === 'parameters'
    ? { model: 'whisper-1', ...task.params, file: await recording(task) }
    : { file: await recording(task), model: 'whisper-1', ...task.params };
  const result = await api.create(params, { headers: task.headers });
  return params.stream ? events(result, task) : result;
}

function problem(e) {
  return {
    error: e.constructor.name,
    status: e.status,
    message: e.message,
    type: e.type,
    code: e.code,
    param: e.param,
    request_id: e.requestID,
  };
}

async function main() {
  const { url, key, tasks } = JSON.parse(fs.readFileSync(0, 'utf8'));
  const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 600000 });
  const results = [];
  for (const task of tasks) {
    try {
      results.push({ value: await run(client, task) });
    } catch (e) {
      results.push(problem(e));
    }
  }
  process.stdout.write(JSON.stringify(results));
}

main().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
