"""locales/en is what the nodes themselves say; a tooltip that was changed has to be taken over (lab/locales.py)."""

import asyncio

import videograin
from videograin.lab import locales


def test_the_english_locale_is_the_nodes_own_texts(comfyui):
    nodes = asyncio.run(videograin.comfy_entrypoint().get_node_list())
    infos = {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in nodes}
    assert locales.read("en") == locales.node_defs(infos)


def test_comfyui_hands_out_our_locales_to_the_frontend(comfyui, tmp_path, monkeypatch):
    """Its own reader finds them in a custom_nodes folder, whatever the pack's folder is called there."""
    import folder_paths
    from app.custom_node_manager import CustomNodeManager

    (tmp_path / "AnyName").symlink_to(locales.ROOT.parent, target_is_directory=True)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "custom_nodes", ([str(tmp_path)], set()))
    found = CustomNodeManager.build_translations.__wrapped__(CustomNodeManager())
    for language in locales.LANGUAGES:
        assert found[language]["nodeDefs"] == locales.read(language)
        assert found[language]["nodeCategories"] == locales.read(language, "main.json")["nodeCategories"]
