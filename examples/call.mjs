// Calls with fetch: `node examples/call.mjs [URL]`, in the repository's folder. It needs Node.js 20 or later.
import { openAsBlob } from "node:fs";

const url = process.argv[2] ?? "http://localhost:8000";

async function form(names, fields = {}) {
  const body = new FormData();
  for (const name of names) body.append("data", await openAsBlob(`tests/assets/${name}`), name);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return body;
}

async function post(path, body) {
  const answer = await fetch(url + path, { method: "POST", body });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

// One image
const one = await post("/caption/", await form(["star.png"]));
console.log((await one.json()).caption);

// With generation settings
const config = JSON.stringify({ num_beams: 4, num_return_sequences: 2 });
const two = await post("/caption/", await form(["star.png"], { config }));
console.log(JSON.stringify((await two.json()).results));

// A resized image
const resized = await post("/cv_model/?h=28&w=40", await form(["star.png"]));
console.log((await resized.blob()).type);

// A job: submit it, follow its events until it has ended, read the results
const submitted = await post("/caption_jobs/", await form(["star.png", "circle_and_diamond.png"]));
const job = url + submitted.headers.get("Location");
await (await fetch(`${job}/events`)).text();
process.stdout.write(await (await fetch(`${job}/results?format=csv`)).text());

// An error names the field
const wrong = await fetch(`${url}/caption/`, {
  method: "POST",
  body: await form(["star.png"], { config: '{"num_beams": 0}' }),
});
console.log(JSON.stringify((await wrong.json()).errors));
