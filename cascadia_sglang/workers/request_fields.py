"""The fields of SGLang's requests, each ready to be read."""

import dataclasses

from sglang.srt.managers.io_struct import GenerateReqInput, SessionParams

from cascadia_sglang.workers.request_field import fields_of, struct_defaults
from cascadia_sglang.workers.request_table import REQUEST_ROWS, SESSION_ROWS

REQUEST_FIELDS = fields_of(
    GenerateReqInput,
    {field.name: field.default for field in dataclasses.fields(GenerateReqInput)},
    REQUEST_ROWS,
    may_be_batch=True,
)
SESSION_FIELDS = fields_of(
    SessionParams, struct_defaults(SessionParams), SESSION_ROWS, may_be_batch=False
)
