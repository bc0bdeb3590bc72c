#!/usr/bin/env python3
"""Generates a year of data of homes with photovoltaics and a battery: three CSV files to import.

    tests/support/generate_year.py FOLDER [--homes 17] [--hours 8760] [--seed 2016]

Writes sites.csv, configurations.csv and live_data.csv.gz, the same bytes for the same arguments.
The data are similar to those of real homes: load with an evening peak, sun by day and season, and
a battery that charges from surplus production and discharges into the load.
"""
import argparse
import csv
import datetime
import gzip
import io
import math
import pathlib
import random

START = datetime.datetime(2016, 8, 1, 7, tzinfo=datetime.timezone.utc)
CAPACITY_KWH = 6.4
POWER_KW = 5
LOCATION = "Fontana, California, USA"


def number(value: float) -> str:
    """The shortest text that parses to the same double: `0`, `10.5`."""
    return repr(value).removesuffix(".0")


def flag(value: bool) -> str:
    return "true" if value else "false"


def local_hour(moment: datetime.datetime) -> int:
    return (moment.hour - 8) % 24  # the homes are eight hours behind UTC


def sun(moment: datetime.datetime) -> float:
    """The output of a photovoltaic unit without clouds, as a fraction of its peak power, 0 to 1."""
    season = 0.75 + 0.25 * math.cos((moment.timetuple().tm_yday - 172) / 365 * 2 * math.pi)
    return max(0.0, math.sin((local_hour(moment) - 6) / 12 * math.pi)) * season


def readings(rng: random.Random, hours: int, peak_kw: float):
    """The hourly rows of one home, without its name."""
    stored_kwh = rng.uniform(0, CAPACITY_KWH)
    habit = rng.uniform(0.5, 1.5)
    for hour in range(hours):
        moment = START + datetime.timedelta(hours=hour)
        evening = math.exp(-((local_hour(moment) - 19) ** 2) / 8)
        load_kwh = round(habit * (0.3 + 2 * evening) * rng.uniform(0.5, 1.5), 4)
        pv_kwh = round(peak_kw * sun(moment) * rng.uniform(0.2, 1), 4)
        surplus_kwh = pv_kwh - load_kwh
        moved_kwh = min(max(surplus_kwh, -POWER_KW, -stored_kwh),
                        POWER_KW, CAPACITY_KWH - stored_kwh)
        stored_kwh = min(max(stored_kwh + moved_kwh, 0.0), CAPACITY_KWH)
        soc = round(stored_kwh / CAPACITY_KWH * 100, 1)
        net_load_kwh = round(max(0.0, moved_kwh - surplus_kwh), 4)
        yield [moment.strftime("%Y-%m-%dT%H:%M:%SZ"), number(soc), number(load_kwh),
               number(net_load_kwh), flag(pv_kwh > 0), flag(False), flag(False)]


def write(path: pathlib.Path, header: str, rows) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    data = text.getvalue().encode()
    # Without the time in the gzip header, so that every run gives the same bytes.
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def generate(folder: pathlib.Path, homes: int = 17, hours: int = 8760, seed: int = 2016) -> None:
    """Writes the three files into `folder`, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    peaks_kw = {f"Building {n}": 4 + n % 2 for n in range(1, homes + 1)}
    write(folder / "sites.csv", "name,location", ([name, LOCATION] for name in peaks_kw))
    write(folder / "configurations.csv",
          "site_name,battery_vendor,battery_capacity_kwh,battery_max_power_kw,"
          "production_pv_units,production_bio_units,production_cro_units,production_pv_kwp",
          ([name, "Tesla", number(CAPACITY_KWH), POWER_KW, 1, 0, 0, peak]
           for name, peak in peaks_kw.items()))
    write(folder / "live_data.csv.gz",
          "site_name,dt_stamp,soc,load_kwh,net_load_kwh,"
          "pv_notification,bio_notification,cro_notification",
          ([name, *row] for name, peak in peaks_kw.items()
           for row in readings(random.Random(f"{seed} {name}"), hours, peak)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--homes", type=int, default=17)
    parser.add_argument("--hours", type=int, default=8760)
    parser.add_argument("--seed", type=int, default=2016)
    arguments = parser.parse_args()
    generate(arguments.folder, arguments.homes, arguments.hours, arguments.seed)


if __name__ == "__main__":
    main()
