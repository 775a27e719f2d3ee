// JupyterLab's own kernel client against a running server: `node client.mjs URL TOKEN KERNEL SCENARIO`.
// Prints one JSON object; the assertions are in test_lab_client.py.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { KernelManager, ServerConnection } = require('@jupyterlab/services');
const WebSocket = require('ws');

const [url, token, name, scenario] = process.argv.slice(2);
const serverSettings = ServerConnection.makeSettings({
  baseUrl: url,
  wsUrl: url.replace('http', 'ws'),
  token,
  appendToken: true,
  WebSocket
});
const manager = new KernelManager({ serverSettings });
const seen = {};

async function run(kernel, code, onStdin) {
  const outputs = [];
  const future = kernel.requestExecute({ code, allow_stdin: Boolean(onStdin) });
  future.onIOPub = message => outputs.push([message.header.msg_type, message.content]);
  future.onStdin = message => onStdin?.(message);
  const started = Date.now();
  const reply = await future.done;
  return { reply: reply.content, outputs, ms: Date.now() - started };
}

async function alive(kernel) {
  seen.hello = await run(kernel, "print('hello'); 6 * 7");
  seen.input = await run(kernel, "print(input('who? '))", () =>
    kernel.sendInputReply({ status: 'ok', value: 'lab' }, undefined)
  );
  seen.complete = (await kernel.requestComplete({ code: 'zi', cursor_pos: 2 })).content;

  await run(
    kernel,
    `def target(comm, message):
    @comm.on_msg
    def _(message):
        comm.send({'n': len(message['buffers'][0])}, buffers=[bytes(message['buffers'][0])[::-1]])
get_ipython().kernel.comm_manager.register_target('echo', target)`
  );
  const comm = kernel.createComm('echo');
  const answered = new Promise(resolve => (comm.onMsg = resolve));
  await comm.open({}).done;
  await comm.send({}, undefined, [new Uint8Array([1, 2, 3]).buffer]).done;
  const answer = await answered;
  seen.comm = { data: answer.content.data, bytes: Array.from(new Uint8Array(answer.buffers[0].buffer ?? answer.buffers[0])) };

  // The page's comm works while a cell runs, and the running cell stays busy.
  const slow = run(kernel, 'import time; time.sleep(1.5)');
  const status = kernel.createComm('cloister.status');
  const told = new Promise(resolve => (status.onMsg = resolve));
  const asked = Date.now();
  status.open({});
  seen.status = { data: (await told).content.data, ms: Date.now() - asked };
  await new Promise(resolve => setTimeout(resolve, 300));
  seen.statusWhileRunning = kernel.status;
  await slow;

  const sleeping = run(kernel, 'time.sleep(30)');
  await new Promise(resolve => setTimeout(resolve, 500));
  await kernel.interrupt();
  seen.interrupted = await sleeping;

  if (kernel.supportsSubshells) {
    const subshell = (await kernel.requestCreateSubshell({}).done).content.subshell_id;
    seen.subshells = (await kernel.requestListSubshell({}).done).content.subshell_id.includes(subshell);
    await kernel.requestDeleteSubshell({ subshell_id: subshell }).done;
  }

  await run(kernel, 'marker = 1');
  await kernel.restart();
  seen.restarted = await run(kernel, 'marker');
}

async function gone(kernel) {
  seen.cell = await run(kernel, '1');
  seen.command = await run(kernel, '%cloister status');
  const widget = kernel.createComm('jupyter.widget');
  const closed = new Promise(resolve => (widget.onClose = resolve));
  widget.open({});
  await closed;
  seen.widgetClosed = true;
  await kernel.interrupt();
}

const kernel = await manager.startNew({ name });
try {
  seen.info = await kernel.info;
  seen.subshellSupport = kernel.supportsSubshells;
  await { alive, gone }[scenario](kernel);
} finally {
  await kernel.shutdown();
  manager.dispose();
}
console.log(JSON.stringify(seen));
process.exit(0);
