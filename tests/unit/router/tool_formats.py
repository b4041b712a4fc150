"""How models write tool calls: one function for each of SGLang's formats."""

# ruff: noqa: RUF001  (some models write such letters)

import json
from collections.abc import Callable
from typing import Any

Call = tuple[str, dict[str, Any]]
Write = Callable[[list[Call]], str]

MINIMAX_M3 = "]<]minimax[>["


def _objects(before: str, after: str, between: str, key: str = "arguments") -> Write:
    """A JSON object a call."""

    def write(calls: list[Call]) -> str:
        return between.join(
            f"{before}{json.dumps({'name': name, key: arguments})}{after}"
            for name, arguments in calls
        )

    return write


def _tags(outer: str, call: str, argument: str, between: str = "", end: str = "") -> Write:
    """Each argument between tags of its own.

    Args:
        outer: around all calls, with `{}` for them.
        call: around one, with `{name}` and `{arguments}`.
        argument: with `{key}`, `{value}`, `{is_string}` and `{type}`.
    """

    def write(calls: list[Call]) -> str:
        texts = []
        for number, (name, arguments) in enumerate(calls):
            inner = "".join(
                argument.format(
                    key=key,
                    value=value,
                    is_string="true" if isinstance(value, str) else "false",
                    type="string" if isinstance(value, str) else "number",
                )
                for key, value in arguments.items()
            )
            text = call.format(name=name, arguments=inner, number=number, next=number + 1)
            texts.append(text)
        return outer.replace("{}", between.join(texts)) + end

    return write


def _json_arguments(outer: str, call: str, between: str = "") -> Write:
    """A name, and the arguments as one JSON object."""

    def write(calls: list[Call]) -> str:
        texts = [
            call.replace("{name}", name)
            .replace("{number}", str(number))
            .replace("{arguments}", json.dumps(arguments))
            for number, (name, arguments) in enumerate(calls)
        ]
        return outer.replace("{}", between.join(texts))

    return write


def _array(before: str, after: str, of: Callable[[int, str, dict[str, Any]], Any]) -> Write:
    """One JSON array of all calls."""

    def write(calls: list[Call]) -> str:
        items = [of(number, name, arguments) for number, (name, arguments) in enumerate(calls)]
        return f"{before}{json.dumps(items)}{after}"

    return write


def _python(before: str, after: str) -> Write:
    """A list of Python calls."""

    def write(calls: list[Call]) -> str:
        texts = [
            f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
            for name, arguments in calls
        ]
        return f"{before}[{', '.join(texts)}]{after}"

    return write


def _harmony(calls: list[Call]) -> str:
    return "<|channel|>analysis<|message|>Think.<|end|>" + "".join(
        f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        f"{json.dumps(arguments)}<|call|>"
        for name, arguments in calls
    )


def _gemma(calls: list[Call]) -> str:
    texts = []
    for name, arguments in calls:
        inner = ",".join(
            f'{key}:<|"|>{value}<|"|>' if isinstance(value, str) else f"{key}:{value}"
            for key, value in arguments.items()
        )
        texts.append(f"<|tool_call>call:{name}{{{inner}}}<tool_call|>")
    return "".join(texts)


def _minimax_m3(calls: list[Call]) -> str:
    mark = MINIMAX_M3
    texts = [
        f'{mark}<invoke name="{name}">'
        + "".join(f"{mark}<{key}>{value}{mark}</{key}>" for key, value in arguments.items())
        + f"{mark}</invoke>\n"
        for name, arguments in calls
    ]
    return f"{mark}<tool_call>\n{''.join(texts)}{mark}</tool_call>"


def _dsml(block: str, invoke: str, parameter: str) -> Write:
    mark = "｜DSML｜"
    return _tags(
        f"<{mark}{block}>\n{{}}</{mark}{block}>",
        f'<{mark}{invoke} name="{{name}}">\n{{arguments}}</{mark}{invoke}>\n',
        f'<{mark}{parameter} name="{{key}}" string="{{is_string}}">{{value}}</{mark}{parameter}>\n',
    )


_PAIR = "<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n"
_CLOSE_PAIR = "<arg_key>{key}</arg_key><arg_value>{value}</arg_value>"
_QWEN = _objects("<tool_call>\n", "\n</tool_call>", "\n")
_GLM = _tags("{}", "<tool_call>{name}\n{arguments}</tool_call>", _PAIR, "\n")
_CODER = _tags(
    "{}",
    "<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
    "<parameter={key}>\n{value}\n</parameter>\n",
    "\n",
)

# By SGLang's name of the parser.
FORMATS: dict[str, Write] = {
    "apertus2509": _array("<|tools_prefix|>", "<|tools_suffix|>", lambda _, n, a: {n: a}),
    "cohere_command4": _array(
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        lambda i, n, a: {"tool_call_id": str(i), "tool_name": n, "parameters": a},
    ),
    "deepseekv3": _json_arguments(
        "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"
        "<｜tool▁call▁end｜>",
        "\n",
    ),
    "deepseekv31": _json_arguments(
        "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>",
    ),
    "deepseekv32": _dsml("function_calls", "invoke", "parameter"),
    "deepseekv4": _dsml("tool_calls", "invoke", "parameter"),
    "deepseekv41": _dsml(" calls", " invoke", " parameter"),
    "dots": _tags(
        "<dots_function_call>\n{}</dots_function_call>",
        '<invoke name="{name}">\n{arguments}</invoke>\n',
        '<parameter name="{key}">{value}</parameter>\n',
    ),
    "gemma4": _gemma,
    "gigachat3": _objects("<|function_call|>", "", "\n"),
    "gigachat35": _tags(
        "<｜GCML｜tool_calls>\n{}</｜GCML｜tool_calls>",
        '<｜GCML｜invoke name="{name}">\n{arguments}</｜GCML｜invoke>\n',
        '<｜GCML｜parameter name="{key}" string="{is_string}">{value}</｜GCML｜parameter>\n',
    ),
    "glm": _GLM,
    "glm45": _GLM,
    "glm47": _tags("{}", "<tool_call>{name}{arguments}</tool_call>", _CLOSE_PAIR),
    "gpt-oss": _harmony,
    "hermes": _objects("<tool_call>", "</tool_call>", "\n"),
    "hunyuan": _tags(
        "<tool_calls>\n{}</tool_calls>",
        "<tool_call>{name}<tool_sep>\n{arguments}</tool_call>\n",
        _PAIR,
    ),
    "inkling": _json_arguments(
        "{}",
        '<|message_model|>{name}<|content_invoke_tool_json|>{"name":"{name}","args":{arguments}}'
        "<|end_message|>",
    ),
    "interns1": _objects("<|action_start|> <|plugin|>\n", "<|action_end|>", "\n", "parameters"),
    "iquest_q1": _tags("{}", "<iquest_tool_call>{name}{arguments}</iquest_tool_call>", _CLOSE_PAIR),
    "k2_horizon": _tags(
        "<ifm|tool_calls>{}</ifm|tool_calls>",
        "<ifm|tool_call>{name}{arguments}</ifm|tool_call>",
        "<ifm|arg_key>{key}</ifm|arg_key><ifm|arg_value>{value}</ifm|arg_value>",
    ),
    "kimi_k2": _json_arguments(
        "<|tool_calls_section_begin|>{}<|tool_calls_section_end|>",
        "<|tool_call_begin|>functions.{name}:{number}<|tool_call_argument_begin|>{arguments}"
        "<|tool_call_end|>",
    ),
    "kimi_k3": _tags(
        "<|open|>tools<|sep|>{}<|close|>tools<|sep|>",
        '<|open|>call tool="{name}" index="{next}"<|sep|>{arguments}<|close|>call<|sep|>',
        '<|open|>argument key="{key}" type="{type}"<|sep|>{value}<|close|>argument<|sep|>',
    ),
    "lfm2": _python("<|tool_call_start|>", "<|tool_call_end|>"),
    "ling3": _GLM,
    "llama3": _objects("", "", ";", "parameters"),
    "mimo": _tags(
        "{}",
        "<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
        "<parameter={key}>{value}</parameter>\n",
        "\n",
    ),
    "minicpm5": _tags(
        "{}",
        '<function name="{name}">{arguments}</function>',
        '<param name="{key}">{value}</param>',
        "\n",
    ),
    "minimax-m2": _tags(
        "<minimax:tool_call>\n{}</minimax:tool_call>",
        '<invoke name="{name}">\n{arguments}</invoke>\n',
        '<parameter name="{key}">{value}</parameter>\n',
    ),
    "minimax-m3": _minimax_m3,
    "mistral": _array("[TOOL_CALLS] ", "", lambda _, n, a: {"name": n, "arguments": a}),
    "muse": _tags(
        "to=functions<|message|><atem:function_calls>{}</atem:function_calls><|eom|>",
        '<atem:invoke name="{name}">{arguments}</atem:invoke>',
        '<atem:parameter name="{key}">{value}</atem:parameter>',
    ),
    "nanbeige": _CODER,
    "poolside_v1": _GLM,
    "pythonic": _python("", ""),
    "qwen": _QWEN,
    "qwen25": _QWEN,
    "qwen3_coder": _CODER,
    "spark25": _tags("{}", "<tool_call>{name}\n{arguments}</tool_call>", _CLOSE_PAIR, "\n"),
    "step3": _tags(
        "<｜tool_calls_begin｜>\n{}\n<｜tool_calls_end｜>",
        '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="{name}">\n{arguments}'
        "</steptml:invoke><｜tool_call_end｜>",
        '<steptml:parameter name="{key}">{value}</steptml:parameter>\n',
        "\n",
    ),
    "step3p5": _CODER,
    "trinity": _QWEN,
}
