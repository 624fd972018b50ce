export default async function seo_optimizer(input) {
  console.log("🧠 Running skill: seo-optimizer");
  
  // TODO: implement actual logic for this skill
  return {
    message: "Skill 'seo-optimizer' executed successfully!",
    input
  };
}
