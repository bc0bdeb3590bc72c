"""The metrics of servers, and of gateways with `metrics_listen`."""

import re

import requests


def scrape(server):
    """The page that Prometheus reads."""
    return requests.get(server.metrics_url, timeout=10).text


def values(server, name, **labels):
    """The values of the series of `name` with these labels, by their other labels' text."""
    found = {}
    for line in scrape(server).splitlines():
        series = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if series and all(f'{key}="{labels[key]}"' in (series[1] or "") for key in labels):
            found[series[1]] = float(series[2])
    return found


def value(server, name, **labels):
    """The value of the only such series."""
    (found,) = values(server, name, **labels).values()
    return found


def total(servers, name, **labels):
    """The sum of the only such series of each server."""
    return sum(value(one, name, **labels) for one in servers)


def counted(servers, name, **labels):
    """The sum of all such series; a series that is still zero may be missing."""
    return sum(sum(values(one, name, **labels).values()) for one in servers)
