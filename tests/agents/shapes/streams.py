"""All of them."""

from tests.agents.shapes import open_servers, openai, others, routers, services

SHAPES = [*openai.SHAPES, *open_servers.SHAPES, *routers.SHAPES, *services.SHAPES, *others.SHAPES]
