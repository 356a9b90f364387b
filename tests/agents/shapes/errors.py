"""All of them."""

from tests.agents.shapes import refusals_of_servers, refusals_of_services

ERRORS = [*refusals_of_servers.ERRORS, *refusals_of_services.ERRORS]
