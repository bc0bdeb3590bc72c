// Read by jemalloc at start: a background thread returns unused memory to the system after one
// second.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
}
