// Creates a site, and stores a file of readings in it. Run it again, and it goes on where it was.
//
//   node send_readings.ts [--target HOST:PORT] [--batch_lines N] STATE READINGS
//
// STATE is a file that the program makes and keeps. READINGS has one live data entry per line, as
// JSON without the site.
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { toJson } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { LiveData } from "./generated/energysites/v1/live_data_pb.js";
import { Sites } from "./generated/energysites/v1/sites_pb.js";
import { Ingest } from "./ingest.ts";
import { call } from "./retry.ts";
import { load, save } from "./state.ts";

const { values, positionals } = parseArgs({
  options: {
    target: { type: "string", default: "127.0.0.1:50051" },
    batch_lines: { type: "string", default: "1000" },
  },
  allowPositionals: true,
});
const [statePath, readingsPath] = positionals;
if (!statePath || !readingsPath) throw new Error("usage: node send_readings.ts STATE READINGS");

const baseUrl = `http://${values.target}`;
const sessionManager = new Http2SessionManager(baseUrl);
const transport = createGrpcTransport({ baseUrl, sessionManager });
const liveData = createClient(LiveData, transport);
const state = await load(statePath);
if (!state.site_id) {
  // The request_id is on disk: a repeated call, also after a restart, creates one site.
  const site = await call(createClient(Sites, transport).createSite, {
    requestId: state.site_request_id,
    site: { name: "Farm Novak", location: "Brno" },
  });
  state.site_id = site.id;
  await save(statePath, state);
}

const readings = await readFile(readingsPath);
await new Ingest(liveData, state, statePath, readings, Number(values.batch_lines)).run();

const { liveDataEntries } = await call(liveData.getLatestLiveData, { siteIds: [state.site_id] });
const stamp = toJson(TimestampSchema, liveDataEntries[0]!.dtStamp!);
console.log(
  `site ${state.site_id}: ${state.acknowledged} batches stored, the newest entry is of ${stamp}`,
);
// An open connection keeps the program from ending.
sessionManager.abort();
