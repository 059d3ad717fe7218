// The example workflows name files that come with this pack. When such a workflow is opened and ComfyUI's input folder
// has no file of that name yet, the file is uploaded there, as if it had been dropped onto the node.
import { app } from "../../../scripts/app.js";

const SAMPLES = {
  "mggtalk_portrait.jpg": "LoadImage",
  "mggtalk_actor.mp4": "LoadVideo",
  "mggtalk_speech.ogg": "LoadAudio",
};

async function isThere(name) {
  const reply = await app.api.fetchApi(`/view?type=input&filename=${encodeURIComponent(name)}`, { method: "HEAD" });
  return reply.ok;
}

async function upload(name) {
  const sample = await fetch(new URL(`../samples/${name}`, import.meta.url));
  if (!sample.ok) return false;
  const form = new FormData();
  form.append("image", new File([await sample.blob()], name)); // the field is called so for every kind of file
  return (await app.api.fetchApi("/upload/image", { method: "POST", body: form })).ok;
}

app.registerExtension({
  name: "MGGTalk.Samples",
  async beforeConfigureGraph(graph) {
    const wanted = new Set();
    for (const node of graph?.nodes ?? []) {
      for (const value of Array.isArray(node.widgets_values) ? node.widgets_values : []) {
        if (SAMPLES[value] === node.type) wanted.add(value);
      }
    }
    let fresh = false;
    for (const name of wanted) {
      try {
        if (!(await isThere(name))) fresh = (await upload(name)) || fresh;
      } catch (error) {
        console.warn(`MGGTalk: ${name} could not be put into the input folder`, error);
      }
    }
    if (fresh) await app.refreshComboInNodes();
  },
});
