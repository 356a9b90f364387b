"""The words in which servers refuse, in lower case, as regular expressions. Whose they are is written in
`tests/agents/shapes`.
"""

#: The conversation is too long.
TOO_LONG = (
    r"context[ _-]?(?:length|window|size|limit)",
    r"(?:maximum|max) (?:allowed )?(?:prompt|input) length",
    r"(?:prompt|input)(?: is| are)? too (?:long|large)",
    r"request(?: entity)? too large",
    r"reduce the length of the messages",
    r"input token count",
    r"token count of \d+ exceeds",
    r"range of input length",
    r"exceeds max(?:imum)? length",
    r"exceeds? the model'?s (?:maximum|max) ",
    r"too many tokens",
    r"token limit(?:: \d| exceeded)",
    r"`inputs` tokens",
    r"`inputs` must have less than",
    r"max_tokens must be at least 1, got -",
)
#: How many tokens the model takes: the first that is found.
WINDOW = (
    r"maximum (?:context|prompt) length (?:is|of|\()\s?(\d{2,9})",
    r"with (\d{2,9}) maximum context length",
    r"n_ctx\"?:\s{0,3}(\d{2,9})",
    r"(?:context|input) length (?:\(|of only|of)\s?(\d{2,9})",
    r"context size (?:\(|is )(\d{2,9})",
    r"number of tokens allowed \((\d{2,9})",
    r"must be <= (\d{2,9})",
    r"less than (\d{2,9})",
    r"tokens? > (\d{2,9})",
    r"\[1, (\d{2,9})",
    r"limit(?::| of)?\s{1,3}(\d{2,9})",
)
#: How many it was asked to take: of the messages alone, where that is said, before all with the answer.
ASKED = (
    r"(\d{1,9}) (?:in|of) the (?:messages|prompt)",
    r"(\d{1,9}) (?:of text input|tokens from the input)",
    r"n_prompt_tokens\"?:\s{0,3}(\d{1,9})",
    r"given: (\d{1,9}) `inputs`",
    r"(?:request|input) \((\d{1,9}) tokens\)",
    r"resulted in (\d{1,9}) tokens",
    r"(?:has|contains)(?: at least)? (\d{1,9}) (?:input )?tokens",
    r"input (?:token count|length) \(?(\d{1,9})\b",
    r"token count of (\d{1,9})",
    r"too long: (\d{1,9}) tokens",
    r"requested:? (?:about |a total of )?(\d{1,9})",
)
#: The template wants user and assistant in turn.
TURNS = (
    r"(?:must|should) (?:alternate|be alternating)",
    r"alternate between",
    r"interleave the user",
    r"(?:successive|consecutive) user",
    r"(?:start|begin) with a user",
    r"first message must",
    r"last message must (?:have role|be)",
    r"expected last role",
    r"system message must be at the beginning",
)
#: The template knows no system message.
NO_SYSTEM = (
    r"system role (?:is )?not supported",
    r"system messages? (?:is|are) not supported",
    r"(?:does|do) not support system",
    r"only user(?:,| and) assistant (?:and tool )?roles",
    r"developer instruction is not enabled",
    r"unexpected role:? '?system",
)
NO_ENCRYPTED = (
    r"encrypted content is not supported",
    r"encrypted content (?:for item \S{1,200} )?could not be verified",
    r"reasoning\.encrypted_content",
)
NO_IMAGES = (
    r"does(?: not|n't) support (?:image|vision|multi-?modal)",
    r"not a multi-?modal",
    r"(?:image|vision)s?(?: inputs?)? (?:is|are) not (?:supported|enabled)",
    r"support image input",
    r"only supported by certain models",
    r"missing data required for image",
    r"unknown variant `?image_url",
    r"allowed values: \['text'\]",
    r"should be 'text'",
    r"content must be a string",
    r"non-text content",
)
NO_STREAM_OPTIONS = (r"stream_options",)
#: llama.cpp (of status 500, started without a template for tools), vLLM, Ollama, OpenRouter, Groq.
NO_TOOLS = (
    r"tools param requires --jinja",
    r"--enable-auto-tool-choice",
    r"(?:does|do) not support (?:tools|tool (?:use|calls|calling)|function calling)",
    r"no endpoints found that support tool",
    r"`?tool calling`? is not supported",
    r"(?:tools|tool_calls|functions) (?:is|are) not supported",
)
NO_TOOL_CHOICE = (r"tool_choice",)
NO_REASONING = (
    r"(?:reasoning_content|reasoning_details|thinking_blocks)['\"`]?\]?:? (?:is |are )?"
    r"(?:not (?:supported|permitted|allowed)|unsupported|extra)",
    r"(?:unknown|unrecognized|unexpected|unsupported|extra)[a-z ]{0,30}:? ?['\"`]?[a-z0-9_.\[\]]{0,40}"
    r"(?:reasoning_content|reasoning_details|thinking_blocks)",
)
OTHER_LIMIT = (r"use '?max_completion_tokens",)
FILTERED = (
    r"content management policy",
    r"content[ _]policy",
    r"input was flagged",
    r"flagged by moderation",
)
RATE = (r"rate limit", r"too many requests")
QUOTA = (
    r"insufficient[ _](?:quota|balance|credits|funds)",
    r"exceeded your current quota",
    r"requires more credits",
)
_SECONDS = r"(\d{1,5}(?:\.\d{1,9})?)"
#: When to come back: hours, minutes, seconds and their unit; or seconds of a `retryDelay`.
WAIT = (
    rf"(?:try again|retry) in (?:(\d{{1,3}})h)?(?:(\d{{1,4}})m(?=\d))?{_SECONDS} ?(ms|s)"
    rf"|retrydelay\"?:\s{{0,3}}\"{_SECONDS}s"
)
