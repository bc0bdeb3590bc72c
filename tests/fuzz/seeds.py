"""Seeds for the fuzz targets: the validation corpus as bytes, and files that import takes."""

import gzip

from google.protobuf import descriptor_pool
from support.stubs import NAMES
from validation import corpus

SITES = b"name,location\nSonnenhof,Freiburg\n\"Hof, 7\",\"a \"\"b\"\"\"\n"
CONFIGURATIONS = (
    b"site_name,battery_vendor,battery_capacity_kwh,battery_max_power_kw,production_pv_units,"
    b"production_bio_units,production_cro_units,production_pv_kwp,production_cro_kwp\r\n"
    b"Sonnenhof,KATL,13.5,5,12,0,1,4.2,\r\nSonnenhof,Tesla,nan,-inf,2147483648,x,,1e-7,1e999\r\n"
)
LIVE_DATA = (
    b"\xef\xbb\xbfsite_name,dt_stamp,soc,load_kwh,net_load_kwh,pv_notification,bio_notification,"
    b"cro_notification\nSonnenhof,2016-08-01T07:00:00.5+02:00,71.4,0.7001,0,false,true,false\n\n"
    b"Sonnenhof,2016-02-30T07:00:60Z,71.4,0.7001,0,false,true,no\n"
)
DOWNLOAD = (
    b"id,site_id,dt_stamp,soc,load_kwh,net_load_kwh,pv_notification,bio_notification,"
    b"cro_notification,create_time\n1,7,0001-01-01T00:00:00Z,0,5e-324,1e308,true,true,true,\n"
    b"# end 1 rows\n"
)


def request_types(pool):
    """The name of every request, in the order of request_fuzzer's first byte."""
    methods = [
        method
        for name in NAMES
        for service in pool.FindFileByName(f"energysites/v1/{name}.proto").services_by_name.values()
        for method in service.methods
    ]
    return sorted({method.input_type.full_name for method in methods})


def of_requests():
    pool: descriptor_pool.DescriptorPool = corpus.load_pool()
    types = request_types(pool)
    for case in corpus.load_cases(pool):
        data = case.request.SerializeToString()
        if len(data) < 4096:  # The long ones would only make each run slow.
            yield bytes([types.index(case.request.DESCRIPTOR.full_name)]) + data


def of_update_masks():
    for case in corpus.load_cases():
        if case.request_type == "UpdateConfigurationRequest":
            yield case.request.SerializeToString()


def of_csv():
    for kind, text in enumerate((SITES, CONFIGURATIONS, LIVE_DATA, DOWNLOAD)):
        yield bytes([kind]) + text
        yield bytes([kind]) + gzip.compress(text, mtime=0)
        yield bytes([kind]) + gzip.compress(text[:40], mtime=0) + gzip.compress(text[40:], mtime=0)


def of_page_tokens():
    yield b"Aav2GpQAMNk5YxcGALlFAgAAALYXjGslMA" + bytes(40)
