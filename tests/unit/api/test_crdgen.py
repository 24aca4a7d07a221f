"""The generator says in a structural schema what the models mean, and refuses what would be lost."""

from typing import Annotated, Any, ClassVar, Literal

import pytest
from agentservice_operator.api.crdgen import CrdError, custom_resource_definition, structural_schema
from agentservice_operator.api.markers import (
    VALIDATIONS,
    Atomic,
    Cel,
    Immutable,
    IntOrString,
    ListMap,
    PreserveUnknown,
    RawAs,
    SetList,
    exactly_one_of,
    matching,
    member_of,
)
from agentservice_operator.api.v1alpha1.base import ApiModel
from agentservice_operator.api.v1alpha1.crd import AGENT_SERVICE
from pydantic import Field

Text = Annotated[str, Field(max_length=9)]


class Named(ApiModel):
    """A named thing."""

    name: Text
    """Its name."""
    weight: int = 1
    """Its weight."""


def field(annotation: Any, *, default: Any = ..., description: str | None = "What it is.") -> dict[str, Any]:
    """The schema of the one field ``x`` of a model."""
    info = Field(description=description) if default is ... else Field(default=default, description=description)
    model = type("Model", (ApiModel,), {"__annotations__": {"x": annotation}, "x": info, "__module__": __name__})
    schema: dict[str, Any] = structural_schema(model)["properties"]["x"]
    return schema


def of_type(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "description"}


def test_optional_means_absent_and_never_null() -> None:
    model = type("Model", (ApiModel,), {"__annotations__": {"x": int | None}, "x": Field(None, description="X.")})

    schema = structural_schema(model)

    assert schema["properties"]["x"] == {"type": "integer", "description": "X."}
    assert "required" not in schema


def test_references_are_inlined_and_the_fields_own_description_wins() -> None:
    schema = field(Named, description="The one.")

    assert schema["description"] == "The one."
    assert schema["required"] == ["name"]
    assert schema["properties"]["weight"] == {"type": "integer", "default": 1, "description": "Its weight."}


def test_a_docstrings_lines_become_one_paragraph() -> None:
    assert field(int, description="One\n    sentence.\n\nAnother.")["description"] == "One sentence.\n\nAnother."


def test_a_constant_is_an_enum() -> None:
    assert of_type(field(Literal["A"])) == {"type": "string", "enum": ["A"]}


def test_exclusive_bounds_of_integers_become_inclusive_ones() -> None:
    assert of_type(field(Annotated[int, Field(gt=3, lt=9)])) == {"type": "integer", "minimum": 4, "maximum": 8}


def test_exclusive_bounds_of_numbers_are_flags() -> None:
    schema = of_type(field(Annotated[float, Field(gt=0)]))

    assert schema == {"type": "number", "minimum": 0, "exclusiveMinimum": True}


def test_list_map() -> None:
    schema = of_type(field(Annotated[list[Named], Field(max_length=3), ListMap("name")]))

    assert schema["x-kubernetes-list-type"] == "map"
    assert schema["x-kubernetes-list-map-keys"] == ["name"]
    assert schema["maxItems"] == 3


def test_list_map_keys_may_have_a_default_instead() -> None:
    assert field(Annotated[list[Named], Field(max_length=3), ListMap("name", "weight")])


def test_set_list_drops_unique_items_which_structural_schemas_forbid() -> None:
    schema = of_type(field(Annotated[set[Text], Field(max_length=3), SetList()]))

    assert schema["x-kubernetes-list-type"] == "set"
    assert "uniqueItems" not in schema


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Annotated[list[Text], Field(max_length=3), Atomic()], "list"),
        (Annotated[dict[str, Text], Field(max_length=3), Atomic()], "map"),
        (Annotated[Named, Atomic()], "map"),
        (Annotated[Named | None, Atomic()], "map"),
    ],
)
def test_atomic_lists_maps_and_objects(annotation: Any, kind: str) -> None:
    assert field(annotation)[f"x-kubernetes-{kind}-type"] == "atomic"


def test_int_or_string_keeps_the_bounds_of_both() -> None:
    count = Annotated[int, Field(ge=0)]
    percent = Annotated[str, Field(max_length=4, pattern="^[0-9]+%$")]

    assert of_type(field(Annotated[count | percent, IntOrString()], default=1)) == {
        "x-kubernetes-int-or-string": True,
        "minimum": 0,
        "maxLength": 4,
        "pattern": "^[0-9]+%$",
        "default": 1,
    }


def test_raw_objects_keep_unknown_fields() -> None:
    schema = of_type(field(Annotated[dict[str, Any], PreserveUnknown()], default={}))

    assert schema == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_raw_parts_have_the_schema_of_their_model() -> None:
    assert field(Annotated[dict[str, Any], RawAs(Named)])["properties"].keys() == {"name", "weight"}


def test_immutable_compares_with_the_older_object() -> None:
    (rule,) = field(Annotated[int, Immutable()])[VALIDATIONS]

    assert rule["rule"] == "self == oldSelf"


def test_rules_of_a_field_and_of_its_model_add_up() -> None:
    class Ruled(Named):
        """A ruled thing."""

        rules: ClassVar = (Cel("self.weight > 0", "weightless", lambda named: named.weight > 0, ".weight"),)

    schema = field(Annotated[Ruled, Cel("self.name != 'b'", "b is taken", None, reason="FieldValueForbidden")])

    assert schema[VALIDATIONS] == [
        {"rule": "self.weight > 0", "message": "weightless", "fieldPath": ".weight"},
        {"rule": "self.name != 'b'", "message": "b is taken", "reason": "FieldValueForbidden"},
    ]


def test_a_union_is_a_flat_object_with_a_rule_per_member() -> None:
    class Choice(ApiModel):
        """A choice."""

        kind: Literal["Named", "None"]
        """Which."""
        named: Named | None = None
        """With kind Named."""

        rules: ClassVar = member_of("kind", {"Named": "named"})

    schema = field(Choice)

    assert schema["required"] == ["kind"]
    assert schema["properties"]["named"]["type"] == "object"
    assert [rule["rule"] for rule in schema[VALIDATIONS]] == ['(self.kind == "Named") == has(self.named)']


def test_a_nested_default_is_empty_so_that_the_defaults_below_it_fire() -> None:
    class Inner(ApiModel):
        """Inner."""

        weight: int = 1
        """Its weight."""

    assert field(Inner, default=Inner())["default"] == {}
    assert field(Inner, default=Inner(weight=3))["default"] == {"weight": 3}


def test_a_nested_default_under_a_rule_holds_what_the_rule_asks_for() -> None:
    class Inner(ApiModel):
        """Inner."""

        weight: int = 1
        """Its weight."""

        rules: ClassVar = (Cel("self.weight > 0", "weightless", None),)

    assert field(Inner, default=Inner())["default"] == {"weight": 1}


def test_empty_defaults_are_left_out() -> None:
    assert "default" not in field(Annotated[list[Text], Field(max_length=3), Atomic()], default=[])
    assert "default" not in field(Annotated[dict[str, Text], Field(max_length=3)], default={})


class Recursive(ApiModel):
    """A thing in a thing."""

    inner: "Recursive | None" = None
    """The same again."""


class HasDefaulted(ApiModel):
    """A thing whose rule asks for a field that is always there."""

    first: Annotated[str, Field(max_length=3)] = "a"
    """First."""
    second: Annotated[str | None, Field(max_length=3)] = None
    """Second."""

    rules: ClassVar = (exactly_one_of("first", "second"),)


class Frozen(ApiModel):
    """A thing with an immutable field."""

    name: Annotated[Text, Immutable()]
    """Its name."""


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (str, "Model.x: a string needs max_length"),
        (Annotated[list[Text], Atomic()], "Model.x: a list needs max_length"),
        (Annotated[list[Text], Field(max_length=3)], "Model.x: a list needs ListMap, SetList or Atomic"),
        (Annotated[list[str], Field(max_length=3), Atomic()], r"Model.x\[\]: a string needs max_length"),
        (dict[str, Text], "Model.x: a map needs max_length"),
        (Annotated[dict[str, str], Field(max_length=3)], r"Model.x.\*: a string needs max_length"),
        (Annotated[dict[str, Any], Field(max_length=3)], "Model.x: a map of anything needs PreserveUnknown"),
        (Any, "Model.x: no structural schema for the type None"),
        (int | Text, "Model.x: a union needs a discriminator and optional members, or IntOrString"),
        (Annotated[int | str, IntOrString()], "Model.x: the string of an IntOrString needs max_length"),
        (tuple[int, int], "Model.x: a structural schema cannot say prefixItems"),
        (Annotated[int, Field(examples=[1])], "Model.x: a structural schema cannot say examples"),
        (Annotated[int, Field(gt=1, ge=1)], "Model.x: minimum and exclusiveMinimum exclude each other"),
        (Annotated[list[Named], Field(max_length=3), SetList()], "Model.x: a SetList holds scalars"),
        (Annotated[list[Named], Field(max_length=3), ListMap("id")], r"Model.x\[\].id: a key of a ListMap must be"),
        (
            Annotated[list[Frozen], Field(max_length=3), Atomic()],
            "Model.x: Immutable does not work inside an atomic list",
        ),
        (Recursive, "Model.x.inner.inner: Recursive contains itself|Model.x.inner: Recursive contains itself"),
        (HasDefaulted, "Model.x.first: a rule asks whether the field is set, but its default always sets it"),
    ],
)
def test_what_a_structural_schema_cannot_say_is_refused_naming_the_field(annotation: Any, says: str) -> None:
    with pytest.raises(CrdError, match=f"^({says})"):
        field(annotation)


def test_a_field_without_description_is_refused() -> None:
    with pytest.raises(CrdError, match=r"^Model.x: the field needs a description"):
        field(int, description=None)


def test_a_rule_about_a_field_that_is_not_there_is_refused() -> None:
    class Typo(Named):
        """A thing."""

        rules: ClassVar = (Cel("has(self.nick)", "needs a name", None),)

    with pytest.raises(CrdError, match=r"^Model.x.nick: a rule names the field, but there is none"):
        field(Typo)


def test_int_or_string_of_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="IntOrString marks a union of an integer and a string"):
        field(Annotated[int, IntOrString()])


def test_a_pattern_that_is_not_anchored_is_refused() -> None:
    with pytest.raises(ValueError, match="must be anchored"):
        matching("[a-z]+", "use small letters")


def test_the_definition_names_subresources_and_columns() -> None:
    definition = custom_resource_definition(AGENT_SERVICE)["spec"]
    version = definition["versions"][0]

    assert definition["names"]["shortNames"] == ["agsvc"]
    assert definition["names"]["categories"] == ["agents"]
    assert version["subresources"].keys() == {"status", "scale"}
    assert [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")] == [
        "Ready",
        "Reason",
        "Replicas",
        "Model",
        "Age",
    ]
    assert version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] == {"observedGeneration": -1}
