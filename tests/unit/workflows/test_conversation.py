"""The conversation: heard once, handed on as deltas, packed for continue-as-new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker.activities.transcripts import Transcripts
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.conversation import Conversation, pack, unpack


def message(role: str, number: int, content: str = "text") -> m.Message:
    return {"role": role, "content": f"{content} {number}", "message_id": f"{role}{number}", "timestamp": "t"}


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
    again = Conversation.restore(unpack(pack(conversation.snapshot())))
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
