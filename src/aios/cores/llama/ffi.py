"""llama.cpp's C API, as exported by the pinned `xllamacpp` wheel, through cffi.

The wheel's exports are undocumented, so the struct layouts below are those of one exact build, and `Library`
refuses to work with any other: a wrong layout would load and then fail, or worse, compute something else.
Only what the engine uses is declared. Names are llama.cpp's own (`llama.h`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from cffi import FFI

from aios.errors import EngineIncompatible

PACKAGE = "xllamacpp"
BUILD = "2026.10.11549"

CDEF = """
typedef int32_t llama_token;
typedef int32_t llama_pos;
typedef int32_t llama_seq_id;
typedef struct llama_model llama_model;
typedef struct llama_context llama_context;
typedef struct llama_vocab llama_vocab;
typedef void * llama_memory_t;
typedef bool (*llama_progress_callback)(float progress, void * user_data);
typedef bool (*ggml_abort_callback)(void * data);
typedef void (*ggml_log_callback)(int level, const char * text, void * user_data);

typedef struct llama_batch {
    int32_t n_tokens;
    llama_token * token;
    float * embd;
    llama_pos * pos;
    int32_t * n_seq_id;
    llama_seq_id ** seq_id;
    int8_t * logits;
} llama_batch;

struct llama_model_params {
    void * devices;
    const void * tensor_buft_overrides;
    int32_t n_gpu_layers;
    int split_mode;
    int load_mode;
    int lazy_mode;
    int32_t main_gpu;
    const float * tensor_split;
    llama_progress_callback progress_callback;
    void * progress_callback_user_data;
    const void * kv_overrides;
    bool vocab_only;
    bool check_tensors;
    bool use_extra_bufts;
    bool no_host;
    bool no_alloc;
    bool load_mtp;
};

struct llama_context_params {
    uint32_t n_ctx;
    uint32_t n_batch;
    uint32_t n_ubatch;
    uint32_t n_seq_max;
    uint32_t n_rs_seq;
    uint32_t n_outputs_max;
    uint32_t n_outputs_max_per_seq;
    int32_t n_threads;
    int32_t n_threads_batch;
    int ctx_type;
    int rope_scaling_type;
    int pooling_type;
    int attention_type;
    int flash_attn_type;
    float rope_freq_base;
    float rope_freq_scale;
    float yarn_ext_factor;
    float yarn_attn_factor;
    float yarn_beta_fast;
    float yarn_beta_slow;
    uint32_t yarn_orig_ctx;
    float defrag_thold;
    void * cb_eval;
    void * cb_eval_user_data;
    int type_k;
    int type_v;
    size_t moe_cache_size;
    ggml_abort_callback abort_callback;
    void * abort_callback_data;
    bool embeddings;
    bool offload_kqv;
    bool no_perf;
    bool op_offload;
    bool swa_full;
    bool kv_unified;
    void * samplers;
    size_t n_samplers;
    llama_context * ctx_other;
};

struct llama_model_params llama_model_default_params(void);
struct llama_context_params llama_context_default_params(void);
void llama_backend_init(void);
void llama_log_set(ggml_log_callback log_callback, void * user_data);
bool llama_supports_gpu_offload(void);

llama_model * llama_model_load_from_file(const char * path, struct llama_model_params params);
void llama_model_free(llama_model * model);
llama_context * llama_init_from_model(llama_model * model, struct llama_context_params params);
void llama_free(llama_context * ctx);

const llama_vocab * llama_model_get_vocab(const llama_model * model);
const char * llama_model_chat_template(const llama_model * model, const char * name);
int32_t llama_model_meta_val_str(const llama_model * model, const char * key, char * buf, size_t size);
int32_t llama_model_desc(const llama_model * model, char * buf, size_t size);
int32_t llama_model_n_ctx_train(const llama_model * model);
int32_t llama_model_n_embd(const llama_model * model);
int32_t llama_model_n_swa(const llama_model * model);
bool llama_model_is_recurrent(const llama_model * model);
bool llama_model_is_hybrid(const llama_model * model);
bool llama_model_has_encoder(const llama_model * model);
uint64_t llama_model_size(const llama_model * model);
uint64_t llama_model_n_params(const llama_model * model);

uint32_t llama_n_ctx_seq(const llama_context * ctx);
llama_memory_t llama_get_memory(const llama_context * ctx);
void llama_memory_clear(llama_memory_t mem, bool data);
bool llama_memory_seq_rm(llama_memory_t mem, llama_seq_id seq, llama_pos p0, llama_pos p1);
void llama_memory_seq_cp(llama_memory_t mem, llama_seq_id src, llama_seq_id dst, llama_pos p0, llama_pos p1);
llama_pos llama_memory_seq_pos_max(llama_memory_t mem, llama_seq_id seq);
size_t llama_state_seq_get_size(llama_context * ctx, llama_seq_id seq);
size_t llama_state_seq_get_data(llama_context * ctx, uint8_t * dst, size_t size, llama_seq_id seq);
size_t llama_state_seq_set_data(llama_context * ctx, const uint8_t * src, size_t size, llama_seq_id seq);

llama_batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max);
void llama_batch_free(llama_batch batch);
int32_t llama_decode(llama_context * ctx, llama_batch batch);
float * llama_get_logits_ith(llama_context * ctx, int32_t i);
float * llama_get_embeddings_seq(llama_context * ctx, llama_seq_id seq);
void llama_set_embeddings(llama_context * ctx, bool embeddings);
void llama_synchronize(llama_context * ctx);

int32_t llama_vocab_n_tokens(const llama_vocab * vocab);
llama_token llama_vocab_bos(const llama_vocab * vocab);
llama_token llama_vocab_eos(const llama_vocab * vocab);
llama_token llama_vocab_eot(const llama_vocab * vocab);
bool llama_vocab_is_eog(const llama_vocab * vocab, llama_token token);
bool llama_vocab_is_control(const llama_vocab * vocab, llama_token token);
bool llama_vocab_get_add_bos(const llama_vocab * vocab);
int32_t llama_tokenize(const llama_vocab * vocab, const char * text, int32_t text_len, llama_token * tokens,
                       int32_t n_tokens_max, bool add_special, bool parse_special);
int32_t llama_token_to_piece(const llama_vocab * vocab, llama_token token, char * buf, int32_t length,
                             int32_t lstrip, bool special);
"""

MODEL_DEFAULTS: dict[str, Any] = {
    "split_mode": 1,
    "main_gpu": 0,
    "vocab_only": False,
    "check_tensors": False,
    "use_extra_bufts": True,
    "no_alloc": False,
}
CONTEXT_DEFAULTS: dict[str, Any] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "type_k": 1,
    "type_v": 1,
    "embeddings": False,
    "offload_kqv": True,
    "kv_unified": False,
    "n_samplers": 0,
}
"""Known defaults that lie at both ends and in the middle of each struct: if all are where we look for them, so
is everything between."""


class Library:
    """The loaded engine library: `lib` has the functions, `ffi` makes C data. Opened once per process.

    Raises EngineIncompatible when the package is missing, another build, or laid out differently."""

    def __init__(self) -> None:
        self.ffi: Any = FFI()
        self.ffi.cdef(CDEF)
        self.lib: Any = self.ffi.dlopen(str(self._shared_object()))
        self.check()
        # The engine's chatter would go to stderr of the daemon; errors come back as return values.
        self._quiet: Any = self.ffi.callback("ggml_log_callback", _say_nothing)
        self.lib.llama_log_set(self._quiet, self.ffi.NULL)
        self.lib.llama_backend_init()

    def _shared_object(self) -> Path:
        mend = f"Install it: pip install {PACKAGE}=={BUILD}"
        try:
            installed = importlib.metadata.version(PACKAGE)
        except importlib.metadata.PackageNotFoundError as error:
            raise EngineIncompatible(f"The engine library {PACKAGE} is not installed.", mend) from error
        if installed != BUILD:
            raise EngineIncompatible(f"{PACKAGE} {installed} is installed, {BUILD} is needed.", mend)
        spec = importlib.util.find_spec(PACKAGE)
        folder = Path(spec.origin).parent if spec and spec.origin else Path()
        found = sorted(folder.glob("xllamacpp*.so"))
        if not found:
            raise EngineIncompatible(f"{PACKAGE} has no shared object in {folder}.", mend)
        return found[0]

    def check(self) -> None:
        """Compare known struct defaults. Raises EngineIncompatible naming the first field that is off."""
        for name, params, expected in (
            ("llama_model_params", self.lib.llama_model_default_params(), MODEL_DEFAULTS),
            ("llama_context_params", self.lib.llama_context_default_params(), CONTEXT_DEFAULTS),
        ):
            for field, value in expected.items():
                if getattr(params, field) != value:
                    raise EngineIncompatible(
                        f"{name}.{field} is {getattr(params, field)!r}, not {value!r}: another struct layout.",
                        f"Install {PACKAGE}=={BUILD}.",
                    )


def _say_nothing(level: int, text: Any, data: Any) -> None:
    pass
