#!/bin/sh
# A JSON Schema whose `$ref` leads to something that is no schema (a list of names, a number, a text) is a good schema to
# `check_schema` of jsonschema, and `validate` then raises neither SchemaError nor ValidationError, but AttributeError,
# TypeError or whatever the place happens to cause: who answers forms of agents' schemas and catches the library's own
# errors alone answers with an internal error. `multipleOf` and a whole number beyond a float: OverflowError.
# Seen with jsonschema 4.26.0 (Python 3.11). Exits non-zero if this changes. Needs python3 with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check jsonschema==4.26.0
cat >look.py <<'PY'
from jsonschema import Draft202012Validator, exceptions

CASES = {
    "names": ({"$ref": "#/required", "required": ["a"]}, {"a": 1}),
    "a number": ({"$ref": "#/minimum", "minimum": 3}, 5),
    "a text": ({"$ref": "#/title", "title": "Form"}, 5),
    "a great number": ({"multipleOf": 0.5}, 10**400),
}
seen = {}
for name, (schema, value) in CASES.items():
    Draft202012Validator.check_schema(schema)
    try:
        Draft202012Validator(schema).validate(value)
        seen[name] = "valid"
    except (exceptions.ValidationError, exceptions.SchemaError) as error:
        seen[name] = f"its own {type(error).__name__}"
    except Exception as error:
        seen[name] = type(error).__name__
for name, told in seen.items():
    print(f"{name}: {told}")
assert list(seen.values()) == ["AttributeError", "TypeError", "AttributeError", "OverflowError"], seen
PY
env/bin/python look.py
