"""Creates a site, and stores a file of readings in it. Run it again, and it goes on where it was.

    python send_readings.py [--target HOST:PORT] [--batch_lines N] STATE READINGS

STATE is a file that the program makes and keeps. READINGS has one live data entry per line, as JSON
without the site.
"""

import argparse
import pathlib
import sys

import grpc

# `generate` puts the stubs there.
sys.path.insert(0, str(pathlib.Path(__file__).parent / "generated"))

from energysites.v1 import live_data_pb2, live_data_pb2_grpc, sites_pb2, sites_pb2_grpc
from ingest import Ingest
from retry import call
from state import State


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", default="127.0.0.1:50051")
    parser.add_argument("--batch_lines", type=int, default=1000)
    parser.add_argument("state")
    parser.add_argument("readings")
    arguments = parser.parse_args()

    with grpc.insecure_channel(arguments.target) as channel, open(arguments.readings, "rb") as readings:
        live_data = live_data_pb2_grpc.LiveDataStub(channel)
        state = State.load(arguments.state)
        if not state.site_id:
            # The request_id is on disk: a repeated call, also after a restart, creates one site.
            request = sites_pb2.CreateSiteRequest(
                request_id=state.site_request_id,
                site=sites_pb2.Site(name="Farm Novak", location="Brno"),
            )
            state.site_id = call(sites_pb2_grpc.SitesStub(channel).CreateSite, request).id
            state.save(arguments.state)

        Ingest(live_data, state, arguments.state, readings, arguments.batch_lines).run()

        request = live_data_pb2.GetLatestLiveDataRequest(site_ids=[state.site_id])
        (latest,) = call(live_data.GetLatestLiveData, request).live_data_entries
        stamp = latest.dt_stamp.ToJsonString()
        print(f"site {state.site_id}: {state.acknowledged} batches stored, the newest entry is of {stamp}")


if __name__ == "__main__":
    main()
