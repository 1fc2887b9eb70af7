// Imports the OpenAPI document of a running server as Postman does, and runs every request of the collection:
//   npm install && npm start http://localhost:8000
// Green: each example is answered with 2xx, or 404 where it is of a job that nobody made.
import { fileURLToPath } from "node:url";
import newman from "newman";
import converter from "openapi-to-postmanv2";

const STAR = fileURLToPath(new URL("../assets/star.png", import.meta.url));
// The job of the examples is nobody's.
const TEST = `pm.test(pm.info.requestName + " is answered", () =>
  /caption_jobs.[0-9a-f]/.test(pm.request.url.getPath()) ? pm.response.to.have.status(404) : pm.response.to.be.success);`;

const url = process.argv[2];
const spec = await (await fetch(`${url}/openapi.json`)).text();
const options = { requestParametersResolution: "Example", parametersResolution: "Example", folderStrategy: "Tags" };
const { result, reason, output } = await new Promise((resolve, reject) =>
  converter.convertV2({ type: "string", data: spec }, options, (error, made) => (error ? reject(error) : resolve(made))),
);
if (!result) throw new Error(reason);

const collection = output[0].data;
collection.event = [{ listen: "test", script: { exec: [TEST] } }];
fillForms(collection);

newman.run(
  { collection, envVar: [{ key: "baseUrl", value: url }], reporters: ["cli"], timeoutRequest: 60_000 },
  (error, summary) => {
    if (error) throw error;
    process.exitCode = summary.run.failures.length > 0 || summary.run.stats.requests.total === 0 ? 1 : 0;
  },
);

// What is left to do by hand in Postman: choose the file that is sent, and write the JSON that comes beside it.
function fillForms(folder) {
  for (const { item, request } of folder.item) {
    if (item) fillForms({ item });
    for (const part of request?.body?.formdata ?? []) {
      if (part.key === "data") Object.assign(part, { type: "file", src: STAR });
      if (part.key === "config") part.value = JSON.stringify({ num_beams: 4 });
      if (part.key === "webhook") part.disabled = true; // for hosts that an operator allows
      if (part.key === "prompt") part.value = ""; // the importer writes "<string>" for an empty example
    }
  }
}
