// The classic canvas shows every field of a node, and the Expression Rig has one for each part of the face. Here the
// sliders that few need stay away while they are at 0, until the button asks for them. (Nodes 2.0 does so by itself.)
import { app } from "../../../scripts/app.js";

const LABELS = { true: "Hide rare sliders", false: "Show all sliders" };

function arrange(node) {
  for (const widget of node.widgets) {
    if (widget.options?.advanced) widget.hidden = !node.showsAllSliders && widget.value === 0;
  }
  const button = node.widgets.find((widget) => widget.name === "all_sliders");
  if (button) button.label = LABELS[node.showsAllSliders];
  node.setSize([node.size[0], node.computeSize()[1]]);
  node.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "MGGTalk.Rig",
  nodeCreated(node) {
    if (node.comfyClass !== "MGGExpressionRig" || LiteGraph.vueNodesMode) return;
    node.showsAllSliders = false;
    const toggle = () => {
      node.showsAllSliders = !node.showsAllSliders;
      arrange(node);
    };
    const button = node.addWidget("button", "all_sliders", null, toggle, { serialize: false });
    button.serialize = false;
    arrange(node);
  },
  loadedGraphNode(node) {
    if (node.comfyClass === "MGGExpressionRig" && "showsAllSliders" in node) arrange(node);
  },
});
