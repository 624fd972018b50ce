"""The conversation: heard once, handed on as deltas, packed for continue-as-new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker.activities.transcripts import Transcripts
from kubiya_worker.protocol import calls, compaction
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.conversation import Conversation


def message(role: str, number: int, content: str = "text") -> m.Message:
    return {"role": role, "content": f"{content} {number}", "message_id": f"{role}{number}", "timestamp": "t"}


def snapshot(conversation: Conversation) -> Carried:
    carried = Carried()
    conversation.carry(carried)
    return carried


def carried_on(conversation: Conversation) -> Conversation:
    """Return the conversation as the next run has it."""
    again = Conversation()
    again.restore(Carried.unpack(snapshot(conversation).pack()))
    return again


def test_a_message_that_is_signalled_twice_is_heard_once() -> None:
    conversation = Conversation()
    assert conversation.receive(message("user", 1))
    assert not conversation.receive(message("user", 1))
    assert conversation.take_inbox() == 1
    assert not conversation.receive(message("user", 1))
    assert [x["message_id"] for x in conversation.messages] == ["user1"]


def test_an_empty_message_is_not_heard() -> None:
    assert not Conversation().receive({"role": "user", "content": "  ", "message_id": "x"})


def test_delta_carries_small_user_messages_and_refers_to_what_workers_made() -> None:
    conversation = Conversation([message("user", 1)])
    assert conversation.delta() == (0, [{"message": message("user", 1)}])
    conversation.append(message("assistant", 2))
    conversation.append(message("tool", 3))
    conversation.append(message("user", 4, "x" * calls.INLINE_BYTES))
    assert conversation.delta() == (1, [{"ref": "assistant2"}, {"ref": "tool3"}, {"ref": "user4"}])
    assert conversation.delta() == (4, [])


@given(st.lists(st.text(max_size=50), max_size=20), st.text(min_size=1, max_size=20).filter(str.strip))
def test_packing_loses_nothing(texts: list[str], waiting: str) -> None:
    conversation = Conversation(
        [{"role": "user", "content": text, "message_id": str(i)} for i, text in enumerate(texts)],
        [{"role": "user", "content": waiting, "message_id": "waiting"}],
    )
    again = carried_on(conversation)
    assert again.messages == conversation.messages
    assert again.inbox == conversation.inbox
    assert again.digest() == conversation.digest()


def test_pages_cover_the_conversation_and_name_what_lies_before() -> None:
    conversation = Conversation([message("user", i, "y" * 300_000) for i in range(5)])
    seen: list[m.Message] = []
    while len(seen) < 5:
        page = conversation.page(len(seen))
        assert page["digest"] == m.digest_of(seen)
        assert page["total"] == 5
        assert sum(map(m.size_of, page["messages"])) <= calls.PAGE_BYTES or len(page["messages"]) == 1
        seen += page["messages"]
    assert seen == conversation.messages


def test_a_worker_assembles_the_same_conversation_from_deltas() -> None:
    conversation, kept = Conversation([message("user", 1)]), Transcripts()
    base, tail = conversation.delta()
    assert kept.assemble("e", base, tail, conversation.digest()) == conversation.messages
    for number in range(2, 6):
        made = message("assistant" if number % 2 else "tool", number)
        kept.leave("e", made)
        conversation.append(made)
        base, tail = conversation.delta()
        assert kept.assemble("e", base, tail, conversation.digest()) == conversation.messages


def test_a_worker_that_lacks_a_part_or_has_another_one_says_so() -> None:
    conversation, kept = Conversation([message("user", 1), message("assistant", 2)]), Transcripts()
    base, tail = conversation.delta()
    assert kept.assemble("e", base, tail, conversation.digest()) is None  # lacks assistant2
    kept.leave("e", message("assistant", 2, "another text"))
    assert kept.assemble("e", base, tail, conversation.digest()) is None  # has another one
    assert kept.held("e") == (0, m.EMPTY_DIGEST)


def test_the_least_recently_used_conversation_goes_first() -> None:
    kept = Transcripts(limit_bytes=2000)
    for name in ("a", "b", "c"):
        kept.replace(name, 0, [message("user", 1, "z" * 900)])
    assert [kept.held(name)[0] for name in ("a", "b", "c")] == [0, 1, 1]


def summary(number: int, keeps_from: str) -> m.Message:
    return {**message("system", number, "summary"), "keeps_from": keeps_from}


def ids(messages: list[m.Message]) -> list[str]:
    return [str(x["message_id"]) for x in messages]


def long_talk() -> Conversation:
    talk = [message("user", 1), message("assistant", 2), message("user", 3), message("assistant", 4)]
    return Conversation([*talk, message("tool", 5), message("assistant", 6), summary(7, "assistant6")])


def test_nothing_is_let_go_without_a_summary() -> None:
    conversation = Conversation([message("user", 1), message("assistant", 2)])
    assert conversation.outgrown() == []
    before = snapshot(conversation)
    conversation.trim()
    assert snapshot(conversation) == before and "stored" not in before.conversation


def test_what_a_summary_stands_for_is_let_go_but_for_what_was_last_asked() -> None:
    conversation = long_talk()
    assert ids(conversation.outgrown()) == ["user1", "assistant2", "user3", "assistant4", "tool5"]
    conversation.trim()
    assert ids(conversation.messages) == ["user3", "assistant6", "system7"]
    assert ids(conversation.unstored()) == ["assistant6", "system7"]
    assert (conversation.stored, conversation.total) == (5, 7)
    assert conversation.outgrown() == [], "it is stored once"
    assert (conversation.last_request(), conversation.last_text()) == ("text 3", "text 6")
    assert ids(compaction.for_model(conversation.messages)) == ["system7", "assistant6"]
    assert conversation.digest() == m.digest_of(conversation.messages)


def test_a_trimmed_conversation_is_carried_on_and_trimmed_again() -> None:
    conversation = long_talk()
    conversation.trim()
    again = carried_on(conversation)
    assert not again.receive(message("user", 1)), "what was let go was heard all the same"
    assert again.receive(message("user", 8))
    again.take_inbox()
    for more in (message("assistant", 9), message("tool", 10), summary(11, "user8")):
        again.append(more)
    assert ids(again.outgrown()) == ["assistant6", "system7"], "behind what is stored, to the summary's place"
    again.trim()
    assert ids(again.messages) == ["user8", "assistant9", "tool10", "system11"]
    assert (again.stored, again.total) == (7, 11)
    assert (again.last_request(), again.last_text()) == ("text 8", "text 9")


def test_a_worker_goes_on_with_a_trimmed_conversation_from_its_memory() -> None:
    conversation, kept = long_talk(), Transcripts()
    kept.replace("e", 0, conversation.messages)
    conversation.trim()
    base, tail = conversation.delta()
    assert kept.assemble("e", base, tail, conversation.digest()) == conversation.messages
