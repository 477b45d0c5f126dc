import pytest

from aios.errors import ToolError
from aios.sdk.tool import Tool, tool

pytestmark = pytest.mark.anyio


@tool
def shift(day: int, by: float = 1.5, unit: str = "h") -> dict:
    """Move a day.

    More text that is not for the model.

    day: which day
    """
    return {"day": day, "by": by, "unit": unit}


def test_the_schema_comes_from_signature_and_docstring():
    spec = shift.spec.function
    assert (spec.name, spec.description) == ("shift", "Move a day.")
    assert spec.parameters["required"] == ["day"]
    assert spec.parameters["properties"]["day"] == {"type": "integer", "description": "which day"}
    assert spec.parameters["properties"]["by"]["default"] == 1.5
    assert spec.parameters["additionalProperties"] is False


async def test_arguments_are_checked_and_mildly_coerced():
    assert await shift.call('{"day": "3", "by": 2}') == '{"day":3,"by":2.0,"unit":"h"}'
    assert shift(4) == {"day": 4, "by": 1.5, "unit": "h"}


@pytest.mark.parametrize("wrong", ["{", '{"day": "x"}', "{}", '{"day": 1, "dya": 2}', "[1]"])
async def test_wrong_arguments_say_what_is_wanted(wrong):
    with pytest.raises(ToolError, match=r"day: integer") as caught:
        await shift.call(wrong)
    assert caught.value.code == "tool_error"


async def test_async_functions_and_their_own_errors():
    @tool
    async def divide(a: float, b: float) -> str:
        """Divide."""
        return f"{a / b:g}"

    assert await divide.call({"a": 6, "b": 3}) == "2"
    with pytest.raises(ToolError, match="ZeroDivisionError"):
        await divide.call({"a": 6, "b": 0})


def test_a_function_without_types_is_refused_when_it_is_made_a_tool():
    with pytest.raises(TypeError, match="'x'"):
        Tool(lambda x: x, "f")
