"""serve_tiny.py FILE PORT WINDOW: llama.cpp's server with a tiny model of random weights, written to FILE.

Its vocabulary is bytes and ASCII, its template wants user and assistant in turn, and no system message.
"""

import sys
import time

import gguf
import numpy as np
import xllamacpp

DIMENSIONS, HEADS, LAYERS, FORWARD = 64, 4, 2, 128

TEMPLATE = """\
{{ bos_token }}\
{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}\
{% if add_generation_prompt %}assistant: {% endif %}"""


def vocabulary(writer: gguf.GGUFWriter) -> int:
    special, printable = ["<unk>", "<s>", "</s>"], [chr(code) for code in range(33, 127)]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *printable]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (1 + len(printable))])
    writer.add_token_scores([0.0] * 259 + [-1.0] * (1 + len(printable)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    return len(tokens)


def write(file: str) -> None:
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(DIMENSIONS)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIMENSIONS // HEADS)
    size = vocabulary(writer)
    writer.add_vocab_size(size)
    writer.add_file_type(0)

    def weights(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.05).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(DIMENSIONS, np.float32))

    weights("token_embd", size, DIMENSIONS)
    norm("output_norm")
    weights("output", size, DIMENSIONS)
    for layer in range(LAYERS):
        for part in ("attn_norm", "ffn_norm"):
            norm(f"blk.{layer}.{part}")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"blk.{layer}.{part}", DIMENSIONS, DIMENSIONS)
        weights(f"blk.{layer}.ffn_gate", FORWARD, DIMENSIONS)
        weights(f"blk.{layer}.ffn_up", FORWARD, DIMENSIONS)
        weights(f"blk.{layer}.ffn_down", DIMENSIONS, FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    file, port, window = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    write(file)
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.port, params.n_ctx, params.n_parallel, params.use_jinja = port, window, 1, True
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    while server.listening_address:
        time.sleep(3600)


if __name__ == "__main__":
    main()
