"""SGLang's own tokenizer manager, seen with the tokenizer and the template of another tier."""

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.managers.tokenizer_manager import TokenizerManager
from sglang.srt.runtime_context import create_context, get_serving, use_context
from sglang.srt.server_args import PortArgs, ServerArgs

from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.engine.prompt_forms import ChatSource
from cascadia_sglang.engine.voice_views import VoiceViews
from cascadia_sglang.engine.voiced_prompts import VoicedPrompts
from cascadia_sglang.launch.arguments import TierArguments
from cascadia_sglang.pool.pool import WritablePool
from cascadia_sglang.request_guard.guard import RequestGuard
from cascadia_sglang.sglang_state import CHAT_SOURCE
from tests.repo.source import ROOT
from tests.system.twins import ids_of, permuted

SMALL = ROOT / "demo" / "models" / "small"
VOICES = Voices(
    all=(
        Voice(number=0, name="small", tiers=(0,), tokenizer=0),
        Voice(number=1, name="large", tiers=(1,), tokenizer=1),
    )
)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's small model under other token ids."""
    return permuted(SMALL, tmp_path_factory.mktemp("models") / "twin")


@pytest.fixture(scope="module")
def views(twin: Path) -> Iterator[tuple[VoiceViews, TokenizerManager]]:
    """The views of a manager that has no worker."""
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    namespace = parser.parse_args(["--model-path", str(SMALL), "--device", "cpu"])
    parsers = {"reasoning_parser": "qwen3", "tool_call_parser": "qwen"}
    config = CascadeConfig(
        version=1,
        tiers=[
            TierConfig(name="small", model_path=str(SMALL)),
            TierConfig(name="large", model_path=str(twin), server_args=parsers),
        ],
    )
    arguments = TierArguments(namespace, config, ServerArgs.from_cli_args)
    server_args = arguments.for_server()
    server_args.resolve_once()
    with use_context(create_context(server_args, role="tokenizer")):
        manager = TokenizerManager(server_args, PortArgs.init_new(server_args))
        made = VoiceViews(VOICES, arguments)
        made.connect(manager)
        assert get_serving().tool_call_parser is None
        yield made, manager


def view_of(views: tuple[VoiceViews, TokenizerManager]) -> Any:
    return views[0].manager(1)


def test_a_view_has_its_own_tokenizer(
    views: tuple[VoiceViews, TokenizerManager], twin: Path
) -> None:
    made, manager = views
    view = view_of(views)
    assert made.manager(0) is manager
    assert isinstance(view, TokenizerManager)
    assert manager.tokenizer.encode("rev abc") == ids_of(SMALL, "rev abc")
    assert view.tokenizer.encode("rev abc") == ids_of(twin, "rev abc")
    assert view.model_path == str(twin)
    assert view.model_config.hf_config.eos_token_id != manager.model_config.hf_config.eos_token_id
    assert made.tokenizers() == [manager.tokenizer, view.tokenizer]


def test_all_else_is_the_managers_own(views: tuple[VoiceViews, TokenizerManager]) -> None:
    manager, view = views[1], view_of(views)
    assert view.rid_to_state is manager.rid_to_state
    assert view.model_update_lock is manager.model_update_lock
    assert view.served_model_name == manager.served_model_name == "cascadia"
    assert view.server_status is manager.server_status
    view.last_receive_tstamp = 5.0
    assert manager.last_receive_tstamp == 5.0
    view.context_len, before = 7, manager.context_len
    assert (view.context_len, manager.context_len) == (7, before)
    view.context_len = before


def test_a_voice_has_its_own_template_and_parsers(
    views: tuple[VoiceViews, TokenizerManager],
) -> None:
    chat = views[0].handlers(VOICES.all[1]).chat
    assert isinstance(chat, OpenAIServingChat)
    assert (chat.reasoning_parser, chat.tool_call_parser) == ("qwen3", "qwen")
    assert "trim" in chat.tokenizer_manager.tokenizer.chat_template
    assert "trim" not in views[1].tokenizer.chat_template


class NoGuard:
    """Lets everything pass."""

    def check_text(self, *_: Any) -> None: ...

    def check(self, *_: Any) -> None: ...


def test_a_chat_is_rendered_by_each_voice(
    views: tuple[VoiceViews, TokenizerManager], twin: Path
) -> None:
    made, manager = views
    prompts = VoicedPrompts(VOICES, NoGuard())  # type: ignore[arg-type]
    prompts.connect(made)
    chat = ChatCompletionRequest(
        model="cascadia", messages=[{"role": "user", "content": " rev abc "}], n=2, max_tokens=5
    )
    convert = OpenAIServingChat._convert_to_internal_request
    source = ChatSource(request=chat.model_copy(deep=True), http_request=None, convert=convert)
    from sglang.srt.parser.template_manager import TemplateManager

    templates = TemplateManager()
    templates.initialize_templates(manager, str(SMALL))
    adapted, _ = convert(OpenAIServingChat(manager, templates), chat, None)
    CHAT_SOURCE.set(adapted, source)
    (samples,) = prompts.split(adapted, None)
    in_small = asyncio.run(prompts.all(samples, 0))
    in_large = asyncio.run(prompts.all(samples, 1))
    assert [prompt.input_ids for prompt in in_small] == [ids_of(SMALL, " rev abc ")] * 2
    assert [prompt.input_ids for prompt in in_large] == [ids_of(twin, "rev abc")] * 2
    assert [prompt.rid for prompt in in_large] == [prompt.rid for prompt in in_small]
    assert in_large[0].sampling_params["max_new_tokens"] == 5


def test_the_guard_knows_the_longest_token_of_every_voice(
    views: tuple[VoiceViews, TokenizerManager],
) -> None:
    made, manager = views
    guard = RequestGuard(WritablePool(), VOICES, 8, 4)
    guard.connect(manager, made.tokenizers())
    guard.check(GenerateReqInput(text="a" * 200_000), 1)
