// Sends a file of readings through IngestLiveData, each reading once, whatever stops meanwhile.
import { once, EventEmitter } from "node:events";
import { create, fromJsonString } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import {
  IngestLiveDataRequestSchema,
  LiveDataEntrySchema,
  type IngestLiveDataRequest,
  type IngestLiveDataResponse,
  type LiveData,
} from "./generated/energysites/v1/live_data_pb.js";
import { Backoff } from "./retry.ts";
import { save, type State } from "./state.ts";

// Enough batches that the server never waits for the client.
const maxInFlight = 8;

/** What is sent on a stream, until `end`. */
class Requests {
  #requests: IngestLiveDataRequest[] = [];
  #ended = false;
  #changed = new EventEmitter();

  put(request: IngestLiveDataRequest): void {
    this.#requests.push(request);
    this.#changed.emit("changed");
  }

  end(): void {
    this.#ended = true;
    this.#changed.emit("changed");
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<IngestLiveDataRequest> {
    for (;;) {
      for (let next = this.#requests.shift(); next; next = this.#requests.shift()) yield next;
      if (this.#ended) return;
      await once(this.#changed, "changed");
    }
  }
}

/** One entry per line in `readings`; `state` is saved at `statePath`. */
export class Ingest {
  readonly #liveData: Client<typeof LiveData>;
  readonly #state: State;
  readonly #statePath: string;
  readonly #readings: Buffer;
  readonly #batchLines: number;

  constructor(
    liveData: Client<typeof LiveData>,
    state: State,
    statePath: string,
    readings: Buffer,
    batchLines: number,
  ) {
    this.#liveData = liveData;
    this.#state = state;
    this.#statePath = statePath;
    this.#readings = readings;
    this.#batchLines = batchLines;
  }

  /** Returns when all readings are stored, or refused and reported. */
  async run(): Promise<void> {
    let backoff = new Backoff();
    for (;;) {
      const before = this.#state.acknowledged;
      try {
        return await this.#stream();
      } catch (error) {
        if (this.#state.acknowledged > before) backoff = new Backoff();
        await backoff.wait(error);
      }
    }
  }

  async #stream(): Promise<void> {
    const state = this.#state;
    const requests = new Requests();
    requests.put(
      create(IngestLiveDataRequestSchema, {
        message: {
          case: "start",
          value: { session: state.session, acknowledgedSequence: BigInt(state.acknowledged) },
        },
      }),
    );
    const answers = this.#liveData.ingestLiveData(requests)[Symbol.asyncIterator]();
    try {
      // The first answer says which batches are committed. Those after it are sent again, with the
      // same numbers and the same content.
      await this.#acknowledge(await answers.next());
      let begin = state.offset;
      for (const [sequence, end] of state.pending) {
        requests.put(this.#batch(sequence, begin, end));
        begin = end;
      }
      for (let end = this.#nextEnd(begin); end > begin; end = this.#nextEnd(begin)) {
        while (state.pending.length >= maxInFlight) await this.#acknowledge(await answers.next());
        const sequence = (state.pending.at(-1)?.[0] ?? state.acknowledged) + 1;
        const request = this.#batch(sequence, begin, end);
        // On disk before it is sent: the number belongs to these readings from now on.
        state.pending.push([sequence, end]);
        await save(this.#statePath, state);
        requests.put(request);
        begin = end;
      }
      requests.end();
      while (await this.#acknowledge(await answers.next()));
    } finally {
      requests.end();
    }
  }

  /** Where the batch that begins there ends. A last line without a line end is not complete. */
  #nextEnd(begin: number): number {
    for (let lines = 0; lines < this.#batchLines; ++lines) {
      const lineEnd = this.#readings.indexOf("\n", begin);
      if (lineEnd < 0) break;
      begin = lineEnd + 1;
    }
    return begin;
  }

  #batch(sequence: number, begin: number, end: number): IngestLiveDataRequest {
    const lines = this.#readings.toString("utf8", begin, end).trimEnd().split("\n");
    const entries = lines.map((line) => {
      const entry = fromJsonString(LiveDataEntrySchema, line);
      entry.siteId = this.#state.site_id;
      return entry;
    });
    return create(IngestLiveDataRequestSchema, {
      message: { case: "batch", value: { sequence: BigInt(sequence), entries } },
    });
  }

  /** False at the end of the stream. */
  async #acknowledge(answer: IteratorResult<IngestLiveDataResponse>): Promise<boolean> {
    if (answer.done) return false;
    const state = this.#state;
    for (const { sequence, failedEntries } of answer.value.refused) {
      for (const [index, failure] of Object.entries(failedEntries)) {
        console.error(`batch ${sequence}, entry ${index}: ${failure.message}`);
      }
    }
    const committed = Number(answer.value.committedSequence);
    while (state.pending[0] && state.pending[0][0] <= committed) {
      [state.acknowledged, state.offset] = state.pending.shift()!;
    }
    if (committed > state.acknowledged) {
      throw new Error("the server has batches of this session that the state does not have");
    }
    await save(this.#statePath, state);
    return true;
  }
}
