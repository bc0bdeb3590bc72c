"""Which calls are gRPC."""

# Of the types that begin so, those that Envoy's filters take for gRPC or gRPC-Web. Any other is to
# them a call of REST, and has to pass what such a call passes.
CONTENT_TYPE = {
    "name": "content-type",
    "string_match": {"safe_regex": {
        "regex": r"application/grpc(\+[^,]*)?|application/grpc-web(-text)?(\+proto)?",
    }},
}  # fmt: skip
