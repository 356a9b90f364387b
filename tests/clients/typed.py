"""What who uses clients/python may rely on in types: `make check` reads it, nobody runs it."""

from parley_client import Answer, Parley, SessionState, Worker, sender_of


def shown(state: SessionState) -> str:
    parts = [part for message in state.messages for part in message["parts"]]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    state.messages[0]["contents"]  # type: ignore[typeddict-item]
    return sender_of(state, state.messages[0])["name"] + texts[0] + state.pending[0]["status"]


async def use(parley: Parley) -> int:
    await parley.session("s").shout()  # type: ignore[attr-defined]
    return (await parley.session("s").send("x"))["seq"]


def work(worker: Worker) -> None:
    @worker.answers
    async def answer_it(answer: Answer) -> None:
        await answer.text(answer.question["sender_id"])
        call = answer.call("pay") or await answer.tool("pay", {"eur": 5}, id="pay")
        allowed: bool = await answer.approved(call, "Pay?")
        await answer.text(allowed)  # type: ignore[arg-type]
