// What the client keeps on disk, so that it can go on after a restart.
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";

export interface State {
  session: string;
  site_request_id: string;
  site_id: string;
  acknowledged: number;
  offset: number;
  /**
   * The batches that were numbered and not acknowledged: their sequence numbers, and the offset in
   * the file of readings where each ends. The first begins at `offset`.
   */
  pending: [sequence: number, end: number][];
}

/** What `save` wrote, or a new state that is on disk already. */
export async function load(path: string): Promise<State> {
  if (existsSync(path)) return JSON.parse(await readFile(path, "utf8"));
  const state: State = {
    session: `sample-${randomUUID()}`,
    site_request_id: randomUUID(),
    site_id: "",
    acknowledged: 0,
    offset: 0,
    pending: [],
  };
  await save(path, state);
  return state;
}

/** Replaces the file at once: after a crash there is the old one or the new one. */
export async function save(path: string, state: State): Promise<void> {
  const file = await open(`${path}.new`, "w");
  await file.writeFile(JSON.stringify(state));
  await file.sync();
  await file.close();
  await rename(`${path}.new`, path);
}
