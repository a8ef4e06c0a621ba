"""Serve a recipe's finished members, or any model directories, until Ctrl-C; the same as `polyglossa serve`.

python jobs/serve.py jobs/recipes/quickstart.yaml
python jobs/serve.py --model small=path/of/model [--model …] [--port 8000]
"""

from polyglossa.cli.command import errors_in_one_line

if __name__ == "__main__":
    with errors_in_one_line("serve.py"):
        import typer

        from polyglossa.cli.models.serve import serve

        typer.run(serve)
