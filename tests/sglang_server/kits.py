"""The server tests that SGLang's package itself brings along, on servers with a tool parser.

They lie there as classes to mix in. Pytest finds this file only where it is named.
"""

import subprocess
from typing import ClassVar

import openai
from sglang.srt.utils import kill_process_tree
from sglang.test import test_utils
from sglang.test.kits.anthropic_messages_kit import AnthropicMessagesMixin
from sglang.test.kits.basic_api_contract_kit import BasicAPIContractMixin
from sglang.test.kits.ebnf_constrained_kit import EBNFConstrainedMixin
from sglang.test.kits.json_constrained_kit import JSONConstrainedMixin
from sglang.test.kits.json_mode_kit import JSONModeMixin
from sglang.test.kits.matched_stop_kit import MatchedStopMixin
from sglang.test.kits.regex_constrained_kit import RegexConstrainedMixin


class OneServer(test_utils.CustomTestCase):
    """Starts a server for the class and names it as the kits expect."""

    model: ClassVar[str] = test_utils.DEFAULT_SMALL_MODEL_NAME_FOR_TEST
    base_url: ClassVar[str] = test_utils.DEFAULT_URL_FOR_TEST
    api_key: ClassVar[str] = "none"
    process: ClassVar[subprocess.Popen[bytes]]
    client: ClassVar[openai.Client]

    @classmethod
    def setUpClass(cls) -> None:
        timeout_s = test_utils.DEFAULT_TIMEOUT_FOR_SERVER_LAUNCH
        cls.process = test_utils.popen_launch_server(
            cls.model,
            cls.base_url,
            timeout=timeout_s,
            other_args=["--max-running-requests", "10", "--tool-call-parser", "qwen"],
        )
        cls.client = openai.Client(api_key=cls.api_key, base_url=f"{cls.base_url}/v1")

    @classmethod
    def tearDownClass(cls) -> None:
        kill_process_tree(cls.process.pid)


class TestProtocols(OneServer, AnthropicMessagesMixin, BasicAPIContractMixin):
    """What a route answers, whatever the model says."""


class TestGrammars(
    OneServer,
    EBNFConstrainedMixin,
    JSONConstrainedMixin,
    JSONModeMixin,
    MatchedStopMixin,
    RegexConstrainedMixin,
):
    """What a model says under a grammar, and what ends it."""
