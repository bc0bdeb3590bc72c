// Read by jemalloc at start: unused memory goes back to the system after a second, from a thread
// of its own.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
}
