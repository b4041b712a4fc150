"""Write the generated pages.

python -m docs.generate
"""

from docs.generate.pages import FOLDER, PAGES


def main() -> None:
    """Write every page, with a line for each."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"{FOLDER.name}/{name}")


if __name__ == "__main__":
    main()
